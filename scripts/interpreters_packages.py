"""Brings the packages that tests import, as wheels, into one folder for each CPython version."""

import glob
import json
import os
import shutil

from interpreters_debian import run

PACKAGES = ["uvloop", "uvicorn", "fastapi", "aiohttp", "gunicorn"]
PEERS = ["py-spy", "austin-dist"]
OPTIONS = ["--quiet", "--no-input", "--disable-pip-version-check", "--only-binary", ":all:"]
CHECK = """
import importlib, json
try: from importlib.metadata import version
except ImportError: version = None
found = {}
for name in %r:
    try:
        module = importlib.import_module(name)
        if name == "uvloop": module.new_event_loop().close()
        found[name] = version(name)
    except Exception: pass
print(json.dumps(found))
""" % (PACKAGES,)


def clean_environment(**more):
    """The environment without what would lead one interpreter to another's modules."""
    kept = {name: value for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")}
    return dict(kept, **more)


def pip_of(argv, root):
    """A command that runs pip under the interpreter: its own pip, else the unpacked wheel of pip."""
    try:
        run(argv + ["-m", "pip", "--version"], env=clean_environment())
        return argv + ["-m", "pip"]
    except RuntimeError:
        wheels = glob.glob(root + "/usr/share/python-wheels/pip-*.whl")
        if not wheels:
            raise RuntimeError("no pip for " + argv[0]) from None
        return argv + [wheels[0] + "/pip"]


def install(pip, names, target):
    """Installs into the folder `target`, which appears only when it is whole."""
    new = target + ".new"
    shutil.rmtree(new, ignore_errors=True)
    run(pip + ["install"] + OPTIONS + ["--target", new] + names, env=clean_environment())
    shutil.rmtree(target, ignore_errors=True)
    os.rename(new, target)


def with_wheels(pip, names, target):
    """Those of the packages that have wheels, with all they need, for this interpreter."""
    found = []
    for name in names:
        try:
            run(pip + ["install"] + OPTIONS + ["--dry-run", "--target", target + ".none", name],
                env=clean_environment())
            found.append(name)
        except RuntimeError as error:
            raise_if_offline(error)
    return found


def raise_if_offline(error):
    """Tells a package that is not there from one that pip could not ask for."""
    if "connection broken" in getattr(error, "stderr", "connection broken"):
        raise RuntimeError("no connection to the package index") from None


def bring_site(argv, site, root, names=PACKAGES):
    """Fills the folder `site` for the interpreter, unless it is there; leaves out what has no wheel."""
    if os.path.isdir(site):
        return
    pip = pip_of(argv, root)
    try:
        install(pip, names, site)
    except RuntimeError as error:
        raise_if_offline(error)
        found = with_wheels(pip, names, site)
        if not found:
            raise RuntimeError("no packages: %s" % error) from None
        install(pip, found, site)


def importable(argv, site):
    """The versions of those packages that the interpreter really imports from `site`."""
    return json.loads(run(argv + ["-c", CHECK], env=clean_environment(PYTHONPATH=site)))


def copy_into(root, site):
    """Gives the folder `site` a second place inside `root`, for what runs in a chroot."""
    inside = os.path.join(root, os.path.basename(site))
    if not os.path.isdir(inside):
        shutil.rmtree(inside + ".new", ignore_errors=True)
        shutil.copytree(site, inside + ".new", symlinks=True, copy_function=os.link)
        os.rename(inside + ".new", inside)
