"""Brings interpreters that the machine lacks from the rolling suite of its own distribution.

The packages are unpacked into one folder, nothing is installed, and no root is needed. Where
they come from is read from the machine's own apt configuration: only the suite differs.
"""

import glob
import json
import os
import shutil
import subprocess

import interpreters_elf

TIMEOUT = 1800
LAUNCHER = "#!/bin/sh\nexec %s \"$@\"\n"
SHARED_MAIN = """int Py_BytesMain(int argc, char **argv);
int main(int argc, char **argv) { return Py_BytesMain(argc, argv); }
"""


class NotToBeHad(RuntimeError):
    """Something that trying again would not bring."""


def run(command, **options):
    """Runs a command; its error output's last line becomes the exception's text, all its `stderr`."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=TIMEOUT,
                              stderr=subprocess.PIPE, universal_newlines=True, **options)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(str(error)) from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no output"]
        error = RuntimeError("%s: %s" % (os.path.basename(command[0]), lines[-1].strip()))
        error.stderr = done.stderr
        raise error
    return done.stdout


def apt_sources():
    """The entries of the machine's apt configuration, as (URIs, suites, components, keyring)."""
    for path in ["/etc/apt/sources.list"] + sorted(glob.glob("/etc/apt/sources.list.d/*.list")):
        if os.path.exists(path):
            with open(path) as file:
                lines = [line.split("#")[0].split() for line in file]
            for words in (words for words in lines if words[:1] == ["deb"]):
                options = ""
                if words[1].startswith("["):
                    close = next(i for i, word in enumerate(words) if word.endswith("]"))
                    options, words = " ".join(words[1:close + 1])[1:-1], words[close:]
                keyring = [o[10:] for o in options.split() if o.startswith("signed-by=")]
                yield words[1:2], words[2:3], words[3:], "".join(keyring)
    for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        with open(path) as file:
            text = "".join(line for line in file if not line.startswith("#"))
        for stanza in text.split("\n\n"):
            pairs = (line.split(":", 1) for line in stanza.splitlines() if ":" in line)
            fields = {name.strip().lower(): value.strip() for name, value in pairs}
            if "deb" in fields.get("types", "").split():
                yield (fields.get("uris", "").split(), fields.get("suites", "").split(),
                       fields.get("components", "").split(), fields.get("signed-by", ""))


def rolling_source():
    """A sources entry for the distribution's rolling suite, from the machine's own mirror."""
    with open("/etc/os-release") as file:
        release = dict(line.strip().split("=", 1) for line in file if "=" in line)
    distribution = release.get("ID", "").strip('"')
    rolling = {"debian": "sid", "ubuntu": "devel"}.get(distribution)
    if not rolling or not shutil.which("apt-get"):
        raise NotToBeHad("this is neither Debian nor Ubuntu")
    names = {release.get("VERSION_CODENAME", "").strip('"'), "stable", "testing", "unstable", rolling}
    for uris, suites, components, keyring in apt_sources():
        if uris and "main" in components and names & set(suites):
            entry = "Types: deb\nURIs: %s\nSuites: %s\nComponents: main%s\n" % (
                uris[0], rolling, " universe" if distribution == "ubuntu" else "")
            return entry + ("Signed-By: %s\n" % keyring if keyring.startswith("/") else "")
    raise NotToBeHad("no mirror of %s in /etc/apt" % distribution)


class Rolling:
    """The folder `root` that holds unpacked packages, and the state of apt that fills it."""

    def __init__(self, out):
        self.out, self.root, self.apt = out, os.path.join(out, "sid"), os.path.join(out, "apt")
        self.sources = os.path.join(self.apt, "rolling.sources")
        self.updated = os.path.join(self.apt, "updated")
        self.done_file = os.path.join(self.root, ".packages.json")
        self.done, self.failure = [], None
        if os.path.exists(self.done_file):
            with open(self.done_file) as file:
                self.done = json.load(file)

    def command(self, *words):
        """An apt command with state and cache of its own, as if nothing were installed."""
        settings = {
            "Dir::State": self.apt + "/state", "Dir::State::status": self.apt + "/state/status",
            "Dir::Cache": self.apt + "/cache", "Dir::Etc::sourcelist": self.sources,
            "Dir::Etc::sourceparts": "/dev/null", "Dir::Etc::preferencesparts": "/dev/null",
            "APT::Sandbox::User": "root", "APT::Install-Recommends": "false",
            "Acquire::Languages": "none", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "Acquire::http::Timeout": "60", "Acquire::Retries": "2", "APT::Update::Error-Mode": "any"}
        return [words[0], "-q"] + ["-o%s=%s" % pair for pair in settings.items()] + list(words[1:])

    def update(self):
        """Fetches the suite's list of packages, once; a failure is not tried again in one run."""
        if os.path.exists(self.updated):
            return
        if self.failure:
            raise self.failure
        for folder in ("state/lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(self.apt, folder), exist_ok=True)
        open(self.apt + "/state/status", "w").close()
        try:
            entry = rolling_source()
            with open(self.sources, "w") as file:
                file.write(entry)
            run(self.command("apt-get", "update"))
            open(self.updated, "w").close()
        except (RuntimeError, OSError) as error:
            self.failure = error
            raise

    def bring(self, packages):
        """Downloads and unpacks those of `packages` that the suite has, with what they depend on.

        Gives the names that the suite does not have.
        """
        if set(packages) <= set(self.done):
            return []
        self.update()
        known = set(run(self.command("apt-cache", "pkgnames")).split())
        wanted = [name for name in packages if name in known]
        if not set(wanted) <= set(self.done):
            install = self.command("apt-get", "install", "--download-only", "--yes", *wanted)
            try:
                run(install)
            except RuntimeError:  # the suite moves: a list of yesterday names files that are gone
                os.remove(self.updated)
                self.update()
                run(install)
            self.unpack()
            self.done = sorted(set(self.done) | set(wanted))
            with open(self.done_file, "w") as file:
                json.dump(self.done, file)
        return [name for name in packages if name not in known]

    def unpack(self):
        """Unpacks the downloaded packages that have not been unpacked yet."""
        for folder in ("bin", "sbin", "lib", "lib64"):
            os.makedirs(os.path.join(self.root, "usr", folder), exist_ok=True)
            if not os.path.lexists(os.path.join(self.root, folder)):
                os.symlink("usr/" + folder, os.path.join(self.root, folder))
        for folder in ("tmp", "dev", "proc"):
            os.makedirs(os.path.join(self.root, folder), exist_ok=True)
        for deb in sorted(glob.glob(self.apt + "/cache/archives/*.deb")):
            stamp = os.path.join(self.apt, os.path.basename(deb) + ".unpacked")
            if not os.path.exists(stamp):
                run(["dpkg", "-x", deb, self.root])
                open(stamp, "w").close()
        for archive in glob.glob(self.root + "/usr/lib/python3*/config-*/*.a"):
            os.remove(archive)  # a debug build's static library takes 90 MB and nothing links it

    def free_downloads(self):
        """Removes the package files once everything wanted is unpacked."""
        for deb in glob.glob(self.apt + "/cache/archives/*.deb"):
            os.remove(deb)

    def launcher(self, name, words):
        """Writes `bin/NAME`, a script that execs the command `words` with its own arguments."""
        path = os.path.join(self.out, "bin", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.islink(path):
            os.remove(path)  # not to write into what it points to
        with open(path, "w") as file:
            file.write(LAUNCHER % " ".join("'%s'" % word for word in words))
        os.chmod(path, 0o755)
        return path

    def libraries(self):
        """The folder inside the root where the shared libraries are, like usr/lib/x86_64-linux-gnu."""
        return os.path.dirname(glob.glob(self.root + "/usr/lib/*/libc.so.6")[0])

    def link(self, program):
        """Makes `bin/NAME` a link to the program."""
        link = os.path.join(self.out, "bin", os.path.basename(program))
        os.makedirs(os.path.dirname(link), exist_ok=True)
        if os.path.lexists(link):
            os.remove(link)
        os.symlink(program, link)

    def starts(self, name):
        """The ways to start the unpacked program `name`: (name's ending, argv, its binary, chroot)."""
        program = os.path.join(self.root, "usr/bin", name)
        if not os.path.exists(program):
            return
        # usr/local/bin is under the same prefix, so the copy finds its standard library.
        copy = os.path.join(self.root, "usr/local/bin", name)
        loader, libraries = self.loader(program), self.libraries()
        by_loader = [loader, "--library-path", libraries]
        try:
            interpreters_elf.relocate(program, copy, loader, "$ORIGIN/" + os.path.relpath(
                libraries, os.path.dirname(copy)))
            self.link(copy)
            yield "", [copy], copy, None
        except ValueError:
            copy = program  # started by the loader, it needs no change
            yield "", [self.launcher(name, by_loader + [program])], program, None
        yield "-ldso", [self.launcher(name + "-ldso", by_loader + [copy])], copy, None
        if os.geteuid() == 0:
            words = [shutil.which("chroot") or "/usr/sbin/chroot", self.root, "/usr/bin/" + name]
            yield "-chroot", [self.launcher(name + "-chroot", words)], program, self.root

    def wrap_if_too_new(self, program):
        """Gives `bin/NAME`, which runs the program, with the newer libc if it needs that."""
        try:
            run([program, "--version"])
            self.link(program)
        except RuntimeError:
            loader = self.loader(glob.glob(self.root + "/usr/bin/python3.1?")[0])
            start = [loader, "--library-path", self.libraries(), program]
            run(start + ["--version"])
            self.launcher(os.path.basename(program), start)

    def loader(self, program):
        """Where the dynamic loader is that the unpacked program names."""
        with open(program, "rb") as file:
            return self.root + interpreters_elf.interpreter_of(bytearray(file.read()))

    def shared(self, minor):
        """Builds a program whose interpreter is in libpython3.X.so, as in widely used images.

        The distribution's own program has the interpreter within itself.
        """
        name = "python" + minor
        compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
        if not compiler:
            raise NotToBeHad("no C compiler")
        libraries = self.libraries()
        source = os.path.join(self.out, "shared.c")
        with open(source, "w") as file:
            file.write(SHARED_MAIN)
        program = os.path.join(self.root, "usr/local/bin", name + "-shared")
        if not os.path.exists(program):
            run([compiler, source, "-o", program, "%s/lib%s.so.1.0" % (libraries, name),
                 "-Wl,--dynamic-linker=" + self.loader(os.path.join(self.root, "usr/bin", name)),
                 "-Wl,--disable-new-dtags,-rpath," + libraries, "-Wl,--allow-shlib-undefined"])
        self.link(program)
        return program
