"""Settings: what they accept, what they refuse, and that they tell all of it at once without telling a secret."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from config.env import Reader, SettingsError, layered, signer_secrets
from config.stack.paths import PROJECT_ROOT

CHECKSUMMED = "0x52908400098527886E0F7030069857D2E4169EE7"
LIVE = {
    line.partition("=")[0]: line.partition("=")[2]
    for line in (PROJECT_ROOT / ".ci" / "live.env").read_text().splitlines()
    if not line.startswith("#")
}


def told_by(reader: Reader) -> str:
    with pytest.raises(SettingsError) as raised:
        reader.finish()
    return str(raised.value)


def settings_in(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Reads config.settings in a process of its own, in this environment and no other."""
    code = "import config.settings as s; print(s.MODE, s.HOST_WALLET_ADDRESS, s.DATABASES['default']['HOST'])"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        env={"PATH": os.defpath, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def test_it_strips_surrounding_white_space() -> None:
    reader = Reader({"A": "  word\n"})

    assert reader.word("A") == "word"
    reader.finish()


@pytest.mark.parametrize("text", ["two words", "two\nlines", "tab\tbed", "né", "nul\x00", "\u200bhidden"])
def test_it_refuses_white_space_and_odd_characters_inside(text: str) -> None:
    reader = Reader({"A": text})

    reader.word("A", default="x")

    assert "A must be printable ASCII without white space or line breaks inside" in told_by(reader)


def test_it_tells_all_problems_together_and_goes_on_reading() -> None:
    reader = Reader({"COUNT": "-1", "RATE": "1e5", "URL": "ftp://x", "WHERE": CHECKSUMMED.lower()})

    reader.whole("COUNT", minimum=1, maximum=9)
    reader.decimal("RATE", minimum=Decimal(0), maximum=Decimal(100))
    reader.url("URL", public=False)
    reader.address("WHERE")
    reader.secret("KEY")

    assert told_by(reader).splitlines()[1:-1] == [
        "  - COUNT must be a whole number from 1 to 9",
        "  - RATE must be a plain decimal number from 0 to 100",
        "  - URL must be an http:// or https:// address",
        "  - WHERE must be an Ethereum address in EIP-55 mixed case",
        "  - KEY is required (or KEY_FILE)",
    ]


def test_it_takes_ports_and_nothing_else() -> None:
    reader = Reader({"A": "443,8443", "B": "0", "C": "443,", "D": "70000", "E": "https"})

    assert reader.ports("A", default=frozenset()) == {443, 8443}
    assert reader.ports("NONE", default=frozenset({443})) == {443}
    for name in "BCDE":
        reader.ports(name, default=frozenset({443}))

    told = told_by(reader)
    assert told.count("must be ports from 1 to 65535, with commas between") == 4


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1_000", "1e5", "٣", "+1", ".5", "1.", "0x10", "01"])
def test_it_takes_plain_decimals_only(text: str) -> None:
    reader = Reader({"RATE": text})

    reader.decimal("RATE", minimum=Decimal(-1), maximum=Decimal(10**9))

    told_by(reader)


def test_it_takes_a_decimal_exactly() -> None:
    assert Reader({"RATE": "2.75"}).decimal("RATE", minimum=Decimal(0), maximum=Decimal(100)) == Decimal("2.75")


def test_it_reads_a_secret_from_the_file_that_is_named(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-a-file-0123\n")
    reader = Reader({"KEY_FILE": str(file)})

    assert reader.secret("KEY", minimum_length=16) == "from-a-file-0123"
    reader.finish()


def test_it_refuses_a_secret_given_twice(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("one")
    reader = Reader({"KEY": "other", "KEY_FILE": str(tmp_path / "key")})

    reader.secret("KEY")

    assert "KEY and KEY_FILE are both set: keep one" in told_by(reader)


@pytest.mark.parametrize("content", [b"", b" \n", b"a b", b"\xff\xfe", b"x" * 5000])
def test_it_refuses_a_secret_file_that_holds_no_secret(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    reader = Reader({"KEY_FILE": str(tmp_path / "key")})

    reader.secret("KEY")

    assert "KEY" in told_by(reader)


def test_it_never_tells_a_secret() -> None:
    reader = Reader(
        {"KEY": "short-but-secret", "KEYS": "whsec_tiny-secret,other-secret", "DATABASE_URL": "mysql://u:pw-secret@h/d"}
    )

    reader.secret("KEY", minimum_length=50)
    reader.secrets("KEYS", minimum_length=38, prefix="whsec_")
    reader.database("DATABASE_URL", default={})

    assert "secret" not in told_by(reader).replace("each secret must", "").replace("1 to", "")


def test_it_takes_postgresql_only() -> None:
    reader = Reader({"DATABASE_URL": "sqlite:///x.db"})

    reader.database("DATABASE_URL", default={})

    assert "DATABASE_URL must be a postgres:// address: PostgreSQL is the only database" in told_by(reader)


def test_it_prefers_the_environment_to_dotenv_to_the_running_stack(tmp_path: Path) -> None:
    (tmp_path / "stack.env").write_text("A=stack\nB=stack\nC=stack\n")
    (tmp_path / ".env").write_text('# a comment\nA=dotenv\nexport B="dotenv"\n')

    values = layered({"A": "environment", "STATE": str(tmp_path)}, tmp_path)

    assert (values["A"], values["B"], values["C"]) == ("environment", "dotenv", "stack")


def test_it_reads_another_file_than_dotenv_if_the_environment_names_one(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=dotenv\nB=dotenv\n")
    (tmp_path / "other").write_text("A=other\n")

    values = layered({"ENV_FILE": str(tmp_path / "other"), "STATE": str(tmp_path)}, tmp_path)

    assert values["A"] == "other"
    assert "B" not in values


def test_the_tests_settings_do_not_depend_on_the_machine(tmp_path: Path) -> None:
    (tmp_path / "dotenv").write_text("MAX_PAYMENT_USD=3\nPLATFORM_FEE_PERCENT=50\n")
    (tmp_path / "stack.env").write_text("THRESHOLD_CHECK_EVERY_S=3\n")
    shell = {
        "ENV_FILE": str(tmp_path / "dotenv"), "STATE": str(tmp_path), "SECRET_KEY_FILE": "/nonexistent", "DEBUG": "1",
        "MODE": "live", "LOG_LEVEL": "DEBUG", "SWEEP_EVERY_S": "7", "VALUE_BAND_BPS": "1", "ALLOWED_HOSTS": "a.example",
        "HOST_WALLET_PASSPHRASE": "correct-horse", "ETH_CONFIRMATIONS": "99", "MAX_SEND_ETH": "0.5",
    }  # fmt: skip

    assert _tests_settings_in(shell) == _tests_settings_in({})


def _tests_settings_in(shell: dict[str, str]) -> dict[str, str]:
    """Every setting of a test run in this shell."""
    code = (
        "import os, json; import tests.settings as s;"
        "found = {n: repr(v) for n, v in vars(s).items() if n.isupper() and n not in {'UNFOLD', 'LOGIN_URL', 'LOGIN_REDIRECT_URL'}};"
        "found['environment'] = sorted(n for n in os.environ if n not in ('LC_CTYPE',));"
        "print(json.dumps(found))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        env={"PATH": os.defpath, "SLUICE_TEST_STATE": "/tmp/sluice-nowhere", **shell},  # noqa: S108 (never made)
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_live_mode_refuses_the_sandbox_key_as_a_fallback() -> None:
    key = "sandbox-only-django-key-0123456789abcdefghijklmnopqrstuvwxyz"

    done = settings_in({**LIVE, "SECRET_KEY_FALLBACKS": f"{'k' * 50},{key}"})

    assert done.returncode == 1
    assert "SECRET_KEY_FALLBACKS is the sandbox's default, refused in live mode" in done.stderr


def test_it_does_not_read_the_running_stack_in_live_mode(tmp_path: Path) -> None:
    (tmp_path / "stack.env").write_text("A=stack\n")

    assert "A" not in layered({"MODE": "live", "STATE": str(tmp_path)}, tmp_path)


def test_it_refuses_the_wallets_key_in_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HOST_WALLET_PASSPHRASE=hunter2hunter2\n")

    with pytest.raises(SettingsError) as raised:
        layered({}, tmp_path)

    assert "HOST_WALLET_PASSPHRASE" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_the_signers_secrets_hide_the_passphrase(tmp_path: Path) -> None:
    (tmp_path / "keystore.json").write_text("{}")

    found = signer_secrets(
        {"HOST_WALLET_KEYSTORE": str(tmp_path / "keystore.json"), "HOST_WALLET_PASSPHRASE": "correct-horse"}
    )

    assert found.passphrase == "correct-horse"
    assert found.keystore_path == tmp_path / "keystore.json"
    assert "correct-horse" not in repr(found)


def test_the_signer_without_its_secrets_says_which_are_missing() -> None:
    with pytest.raises(SettingsError) as raised:
        signer_secrets({})

    assert "HOST_WALLET_KEYSTORE is required" in str(raised.value)
    assert "HOST_WALLET_PASSPHRASE is required (or HOST_WALLET_PASSPHRASE_FILE)" in str(raised.value)


def test_the_sandbox_needs_no_variable(short_folder: Path) -> None:
    done = settings_in({"STATE": str(short_folder)})

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["sandbox", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", f"{short_folder}/run"]


def test_live_mode_takes_a_whole_environment() -> None:
    done = settings_in(LIVE)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["live", CHECKSUMMED, "db.example.com"]


def test_live_mode_without_settings_names_each_and_shows_no_traceback() -> None:
    done = settings_in({"MODE": "live", "STATE": "/nonexistent"})

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for name in ("SECRET_KEY", "CHANGENOW_API_KEY", "INGEST_SIGNING_SECRETS", "ETH_RPC_URLS", "HOST_WALLET_ADDRESS"):
        assert f"  - {name} is required" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("DEBUG", "true", "DEBUG must be off in live mode"),
        ("ALLOWED_HOSTS", "*", "ALLOWED_HOSTS must name the hosts"),
        ("CHANGENOW_API_URL", "http://api.changenow.io", "CHANGENOW_API_URL must be https and not this machine"),
        ("CHANGENOW_API_URL", "https://localhost:8081", "CHANGENOW_API_URL must be https and not this machine"),
        ("ETH_RPC_URLS", "https://a.example,http://127.0.0.1:8545", "ETH_RPC_URLS must be https and not this machine"),
        ("ETH_RPC_URLS", "https://[::1]:8545", "ETH_RPC_URLS must be https and not this machine"),
        ("ETH_RPC_URLS", "https://user:pass@rpc.example", "ETH_RPC_URLS must not carry a user name or password"),
        ("HOST_WALLET_ADDRESS", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "is the sandbox's address"),
        ("INGEST_SIGNING_SECRETS", "a,b,c", "INGEST_SIGNING_SECRETS must hold 1 to 2 secrets"),
        ("SECRET_KEY", "sandbox-only-django-key-0123456789abcdefghijklmnopqrstuvwxyz", "is the sandbox's default"),
    ],
)
def test_live_mode_refuses_what_belongs_to_the_sandbox(name: str, value: str, rule: str) -> None:
    done = settings_in({**LIVE, name: value})

    assert done.returncode == 1
    assert rule in done.stderr
    assert value not in done.stderr or name in {"DEBUG", "ALLOWED_HOSTS"}


def test_the_example_file_names_every_setting() -> None:
    source = (PROJECT_ROOT / "config" / "settings.py").read_text()
    example = (PROJECT_ROOT / ".env.example").read_text()

    names = {part.split('"')[1] for part in source.split("_read.")[1:] if '"' in part and not part.startswith("pro")}

    assert {name for name in names if name not in example} == set()
