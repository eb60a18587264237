"""The code that runs at the start of every interpreter. It does nothing until lm_eval is imported.

lm-eval 0.4.13 reads neither entry points nor environment variables, so a `.pth` file at the root of the wheel (and a
`.start` file for Python 3.15 and later, PEP 829) calls `install`. It imports only sys and os, takes about 1 ms, and adds
one finder to `sys.meta_path`. The finder waits for `lm_eval.models` and `lm_eval.tasks`. When the body of one of them has
run, it calls `ssn_eval.harness.bootstrap`; after both it removes itself. `SSN_EVAL_AUTOLOAD=0` switches all of this off.
"""

import os
import sys

HOOKS = {"lm_eval.models": "register_models", "lm_eval.tasks": "include_tasks"}
"""lm_eval module → the function of `bootstrap` that is called once its body has run."""


def install():
    """Add the finder, unless it is switched off or already there; modules that are imported already are handled at once."""
    if os.environ.get("SSN_EVAL_AUTOLOAD", "1") == "0" or any(type(f) is Finder for f in sys.meta_path):
        return
    waiting = {name for name in HOOKS if name not in sys.modules}
    for name in HOOKS.keys() - waiting:
        after(name)
    if waiting:
        sys.meta_path.insert(0, Finder(waiting))


def after(name):
    """Run the hook of an lm_eval module; every error becomes a warning, because lm_eval itself must not break."""
    try:
        from ssn_eval.harness import bootstrap

        getattr(bootstrap, HOOKS[name])()
    except Exception as error:
        _warn(name, error)


def _warn(name, error):
    import warnings

    warnings.warn(f"ssn_eval could not join {name}: {error!r}; SSN_EVAL_AUTOLOAD=0 silences this.", stacklevel=2)


class Finder:
    """Finds the two modules through the other finders, and wraps the loader of each."""

    def __init__(self, waiting):
        """Wait for these module names."""
        self.waiting = waiting

    def find_spec(self, fullname, path=None, target=None):
        """The spec of one of the two modules, whose loader then calls the hook; None for every other module."""
        if fullname not in self.waiting:
            return None
        for finder in [f for f in sys.meta_path if f is not self and hasattr(f, "find_spec")]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                try:
                    self.wrap(spec.loader, fullname)
                except (
                    AttributeError
                ) as error:  # an unusual loader: lm_eval then works as if this package were not installed
                    _warn(fullname, error)
                return spec
        return None

    def wrap(self, loader, name):
        """Make this loader call the hook once, after it has run the module's body."""
        original = loader.exec_module

        def exec_module(module):
            del loader.exec_module
            original(module)
            self.done(name)
            after(name)

        loader.exec_module = exec_module

    def done(self, name):
        """Stop waiting for an imported module, and leave `sys.meta_path` after the last one."""
        self.waiting.discard(name)
        if not self.waiting and self in sys.meta_path:
            sys.meta_path.remove(self)
