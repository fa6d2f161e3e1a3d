/** Importing this module installs the hooks of the test runner. */
export {};
