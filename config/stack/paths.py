"""Where a stack keeps its things on disk, and how its small files are read and written.

STATE/postgres/ redis/ chain/             data of the embedded parts
STATE/exchange/ nowpayments/              and of the sandbox's providers
STATE/secrets/ signer.env stack.env       what was generated at the first start (0700, 0600, 0600)
STATE/run/ log/                           sockets and status; one log a part
"""

import hashlib
import os
import pwd
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
# struct sockaddr_un has 108 bytes on Linux and 104 on macOS, the end mark included; the longest name we put in a
# directory is PostgreSQL's ".s.PGSQL.5432.lock".
MAX_SOCKET_DIR_BYTES = 103 - len("/.s.PGSQL.5432.lock")
POSTGRES_PORT = 5432
DATABASE_NAME = "sluice"
DATABASE_USER = "sluice"


def state_dir(environment: Mapping[str, str]) -> Path:
    """The folder named by STATE, made absolute; `var` in the project root if STATE is unset."""
    named = environment.get("STATE", "").strip()
    return Path(os.path.abspath(named)) if named else PROJECT_ROOT / "var"


@dataclass(frozen=True)
class State:
    """The folders and files of one stack."""

    root: Path

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    @property
    def chain(self) -> Path:
        return self.root / "chain"

    @property
    def exchange(self) -> Path:
        return self.root / "exchange"

    @property
    def nowpayments(self) -> Path:
        return self.root / "nowpayments"

    @property
    def sandbox_file(self) -> Path:
        """What the chain's preparation found or made: addresses, and where the wallet's key is."""
        return self.root / "sandbox.json"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def status_file(self) -> Path:
        return self.run / "status.json"

    @property
    def lock_file(self) -> Path:
        return self.root / "stack.lock"

    @property
    def stack_env(self) -> Path:
        return self.root / "stack.env"

    @property
    def signer_env(self) -> Path:
        return self.root / "signer.env"

    @property
    def sockets(self) -> Path:
        """The folder of the unix sockets: `run`, or one under the temp dir named by a hash when `run` is too long."""
        if len(os.fsencode(self.run)) <= MAX_SOCKET_DIR_BYTES:
            return self.run
        digest = hashlib.sha256(os.fsencode(self.run)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"sluice-{os.getuid()}-{digest}"

    @property
    def redis_socket(self) -> Path:
        return self.sockets / "redis.sock"

    @property
    def broker_url(self) -> str:
        return f"redis+socket://{self.redis_socket}"

    def make(self) -> None:
        """Creates the folders; those that hold secrets or sockets are the owner's alone."""
        self.root.mkdir(parents=True, exist_ok=True)
        for private in (self.run, self.sockets, self.secrets, self.chain, self.exchange, self.nowpayments, self.redis):
            make_private(private)
        self.log.mkdir(exist_ok=True)


def make_private(folder: Path) -> None:
    """A folder that only its owner can enter; raises PermissionError if somebody else owns it already.

    The owner may be `nobody` if we are root: PostgreSQL may have to run as that user, and root enters anyway.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    ours = {os.getuid(), pwd.getpwnam("nobody").pw_uid} if os.getuid() == 0 else {os.getuid()}
    if found.st_uid not in ours:
        raise PermissionError(f"{folder} belongs to user {found.st_uid}, not to us: refusing to put sockets there")
    if found.st_mode & 0o077:
        folder.chmod(0o700)


def read_env_file(path: Path) -> dict[str, str]:
    """The KEY=VALUE lines of `path`; blank lines and lines that begin with # are passed over. No file, no lines."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    found: dict[str, str] = {}
    for raw in text.splitlines():
        line = raw.strip().removeprefix("export ")
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[name.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def write_private(path: Path, text: str) -> None:
    """Replaces `path` in one step with a file only its owner can read: a reader sees the old text or the new."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    Path(name).replace(path)


def write_env_file(path: Path, values: Mapping[str, str]) -> None:
    write_private(path, "".join(f"{name}={value}\n" for name, value in values.items()))
