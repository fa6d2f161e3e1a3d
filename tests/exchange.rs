//! `import` and `export`.
