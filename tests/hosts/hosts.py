"""Hosts on one machine: each has its own network, processes, mounts, name, home and sshd.

Nothing of them has a name outside their processes: when these end, all of it is gone. They end
with the process that made them, however it ends.
"""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMES = {"ctl": "10.77.0.1", "h1": "10.77.0.11", "h2": "10.77.0.12", "h3": "10.77.0.13"}
HEAD, WORKERS = "h1", ("h2", "h3")
TOOLS = ("ip", "unshare", "nsenter", "sshd", "ssh", "ssh-keygen", "rsync", "ps")
HOME = pwd.getpwuid(os.getuid()).pw_dir  # as ssh sees it
BIN = Path(sys.executable).parent
SEARCHED = f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TMP = Path("/tmp")  # noqa: S108  (where Ray keeps its files, whatever one says)
_LIBC = ctypes.CDLL(None)
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG

# What a host does before its sshd: its own places are laid over the machine's, in which only what
# the tests need is kept.
_START = """set -e
hostname {name}
mount -t tmpfs run /run; mkdir -p /run/sshd
mount -t tmpfs -o size=1g shm /dev/shm
mount --bind {here}/hosts /etc/hosts
{kept}
mount --rbind {here}/home {home}; mount --rbind {here}/tmp /tmp
read go
exec $(command -v sshd) -D -e -f /dev/null -h {here}/key -o ListenAddress={address} \
  -o PidFile=none -o AuthorizedKeysFile={home}/.ssh/authorized_keys -o StrictModes=no \
  -o PasswordAuthentication=no -o UsePAM=no -o PermitRootLogin=prohibit-password \
  -o MaxStartups=50
"""


def missing() -> str:
    """Why hosts cannot be made here; empty where they can."""
    if not sys.platform.startswith("linux") or os.getuid() != 0:
        return "needs Linux and root, for network namespaces"
    lacking = [t for t in TOOLS if shutil.which(t, path=SEARCHED) is None]
    if lacking:
        return f"needs {', '.join(lacking)}: `make test-cluster` installs them where apt is"
    tried = subprocess.run([shutil.which("unshare", path=SEARCHED), "-n", "-m", "-p", "-u", "-i",
                            "-f", "true"], check=False, capture_output=True, text=True)
    return f"namespaces are not allowed here: {tried.stderr.strip()}" if tried.returncode else ""


@dataclass
class Hosts:
    """``folder``: all that the hosts write; ``shared`` in it is seen by all of them."""

    folder: Path
    pids: dict[str, int] = field(default_factory=dict)
    _processes: list[subprocess.Popen] = field(default_factory=list)

    @property
    def shared(self) -> Path:
        return self.folder / "shared"

    @property
    def key(self) -> str:
        """The private key by which hosts reach each other; the same path on each."""
        return f"{HOME}/.ssh/id"

    def up(self) -> None:
        """Makes switch and hosts, with a token in each home that may have one."""
        self.shared.mkdir(parents=True)
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self.folder}/id")
        token = os.urandom(32).hex()
        switch = self._child(["unshare", "-n", "-f", "--kill-child", "sleep", "infinity"])
        _inside(switch, "ip", "link", "add", "br0", "type", "bridge")
        _inside(switch, "ip", "link", "set", "br0", "up")
        for name, address in NAMES.items():
            self._prepare(name, token)
            pid = self._child(["unshare", "-n", "-m", "-p", "-u", "-i", "-f", "--kill-child",
                               "--mount-proc", "bash", "-c", self._script(name, address)])
            self.pids[name] = pid
            _run("ip", "link", "add", f"v-{name}", "netns", str(switch), "type", "veth", "peer",
                 "name", "e0", "netns", str(pid))
            _inside(switch, "ip", "link", "set", f"v-{name}", "master", "br0", "up")
            for words in (("link", "set", "lo", "up"), ("link", "set", "e0", "up"),
                          ("addr", "add", f"{address}/24", "dev", "e0")):
                _inside(pid, "ip", *words)
            self._processes[-1].stdin.write(b"go\n")
            self._processes[-1].stdin.close()
        for name in NAMES:
            self._wait_for_ssh(name)

    def down(self) -> None:
        """Ends all hosts with all that runs on them."""
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        for pid in self.pids.values():
            _wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), 20)

    def left(self) -> list[str]:
        """Processes that are still there of hosts that are down."""
        return [line for line in _run("ps", "-eo", "args=").splitlines()
                if str(self.folder) in line]

    def command(self, name: str, words: Sequence[str], environment: Mapping[str, str] | None = None,
                folder: Path | None = None) -> list[str]:
        """The command line that runs words on a host, as its user would after a login."""
        settings = {"HOME": HOME, "PATH": SEARCHED, "USER": "root", "TERM": "dumb",
                    "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", **(environment or {})}
        return ["nsenter", "-t", str(self.pids[name]), "-n", "-m", "-p", "-u", "-i", "env", "-i",
                *(f"{k}={v}" for k, v in settings.items()), "bash", "-c", 'cd "$0" && exec "$@"',
                str(folder or self.shared), *words]

    def run(self, name: str, *words: str, limit: float = 120, **how) -> subprocess.CompletedProcess:
        """Runs words on a host to their end, whatever that is."""
        return subprocess.run(self.command(name, words, **how), check=False, capture_output=True,
                              text=True, timeout=limit, stdin=subprocess.DEVNULL)

    def start(self, name: str, *words: str, log: Path, **how) -> subprocess.Popen:
        """Starts words on a host; what they say goes to ``log``."""
        with log.open("ab") as out:
            process = subprocess.Popen(
                self.command(name, words, **how), stdout=out, stderr=out,
                stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_parent)
        self._processes.append(process)
        return process

    def kill(self, name: str, *patterns: str) -> int:
        """SIGKILL to the processes of a host whose command line holds a pattern; how many."""
        said = self.run(name, "ps", "-eo", "pid=,args=").stdout.splitlines()
        pids = [line.split(None, 1)[0] for line in said
                if any(p in line for p in patterns) and "ps -eo" not in line]
        if pids:
            self.run(name, "kill", "-9", *pids)
        return len(pids)

    def cut(self, name: str) -> None:
        """Takes a host's network cable out."""
        _inside(self.pids[name], "ip", "link", "set", "e0", "down")

    def mend(self, name: str) -> None:
        """Puts the cable back."""
        _inside(self.pids[name], "ip", "link", "set", "e0", "up")

    def listening(self, name: str) -> list[tuple[str, int, str]]:
        """(address, port, program) of all that listens for TCP on a host, without its sshd."""
        said = _inside(self.pids[name], "nsenter", "-t", str(self.pids[name]), "-m", "-p",
                       "ss", "-Hltnp").splitlines()
        found = []
        for line in said:
            address, _, port = line.split()[3].rpartition(":")
            program = line.partition('users:(("')[2].partition('"')[0] or "?"
            if program != "sshd":
                found.append((address, int(port), program))
        return sorted(found, key=lambda f: f[1])

    def _child(self, words: Sequence[str]) -> int:
        """Starts a process that unshares; the pid of the first one inside."""
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                   stderr=(self.folder / "hosts.log").open("ab"),
                                   start_new_session=True, preexec_fn=_die_with_parent)
        self._processes.append(process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        _wait_until(lambda: children.read_text().strip(), 20)
        return int(children.read_text().split()[0])

    def _prepare(self, name: str, token: str) -> None:
        here = self.folder / name
        for part in ("tmp", "home/.ssh", "home/.ray"):
            (here / part).mkdir(parents=True)
        (here / "hosts").write_text("127.0.0.1 localhost\n" + "".join(
            f"{a} {n}\n" for n, a in NAMES.items()))
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{here}/key")
        ssh = here / "home/.ssh"
        shutil.copy(self.folder / "id", ssh / "id")
        shutil.copy(self.folder / "id.pub", ssh / "authorized_keys")
        if name == "ctl":  # `ray up` brings it to the others
            (here / "home/.ray/auth_token").write_text(token)
            (here / "home/.ray/auth_token").chmod(0o600)
        (here / "home/.bashrc").write_text("")
        for path in ("home/.ssh", "home/.ray"):
            (here / path).chmod(0o700)

    def _script(self, name: str, address: str) -> str:
        here = self.folder / name
        needed = (ROOT, BIN, Path(sys.base_prefix), self.folder)
        kept = []
        for place, laid in ((Path(HOME), here / "home"), (_TMP, here / "tmp")):
            for part in sorted({p.relative_to(place).parts[0] for p in needed
                                if p.is_relative_to(place)}):
                kept.append(f"mkdir -p {laid}/{part}; mount --bind {place}/{part} {laid}/{part}")
        return _START.format(name=name, here=here, home=HOME, address=address,
                             kept="\n".join(kept))

    def _wait_for_ssh(self, name: str) -> None:
        def answers() -> bool:
            return any(p == 22 for line in _inside(self.pids[name], "ss", "-Hltn").splitlines()
                       for p in [int(line.split()[3].rpartition(":")[2])])

        _wait_until(answers, 20)


def _run(*words: str) -> str:
    done = subprocess.run(words, check=False, capture_output=True, text=True,
                          env={"PATH": SEARCHED, "HOME": HOME})
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


def _inside(pid: int, *words: str) -> str:
    """Runs words in a host's network, with the machine's files."""
    return _run("nsenter", "-t", str(pid), "-n", *words)


def _wait_until(true, limit: float) -> None:
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, f"not within {limit:g} s"
        time.sleep(0.05)


def _die_with_parent() -> None:
    _LIBC.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
