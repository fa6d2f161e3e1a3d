"""Loaded by Python under `mistral-cassette run`: makes certifi return the certificates of the run, for clients that ask
certifi and read no variable."""

import importlib.machinery
import importlib.util
import os
import pathlib
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


class CertifiFinder:
    """Finds certifi as usual, and changes it after it is loaded."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "certifi":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        bundle = os.environ.get("SSL_CERT_FILE")
        if spec is None or spec.loader is None or not bundle:
            return spec
        execute = spec.loader.exec_module

        def execute_and_change(module):
            execute(module)
            module.where = lambda: bundle
            module.contents = lambda: pathlib.Path(bundle).read_text(encoding="ascii")

        spec.loader.exec_module = execute_and_change
        return spec


def load_next():
    """Loads the sitecustomize that Python would have found without this one."""
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) != HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize")
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


sys.meta_path.insert(0, CertifiFinder)
load_next()
