"""Settings: the one place that names each ZING_* variable, its default and its help.

The command line reads the variables through its options, the service what has no option by `read`.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from zing.errors import BadSetting


@dataclass(frozen=True)
class Setting:
    """One setting."""

    variable: str
    default: str
    help: str


DATA = Setting("ZING_DATA", "~/.local/share/zing", "The folder for what zing keeps.")
MODEL = Setting("ZING_MODEL", "builtin", "A model's name (see `zing models list`) or folder.")
DEVICE = Setting("ZING_DEVICE", "auto", "Where to compute: auto, cpu, cuda or cuda:N.")
THREADS = Setting("ZING_THREADS", "auto", "CPU threads; auto: the cores this process may use.")
DATABASE = Setting(
    "ZING_DATABASE", "", "sqlite:///FILE or postgresql://…; SQLite in the data folder if not given."
)
HOST = Setting("ZING_HOST", "127.0.0.1", "The address to listen on.")
PORT = Setting("ZING_PORT", "8000", "The port to listen on; 0 takes a free one.")
TLS_CERT = Setting("ZING_TLS_CERT", "", "A certificate file (PEM), to serve https.")
TLS_KEY = Setting("ZING_TLS_KEY", "", "The certificate's key file (PEM).")
PUBLIC_URL = Setting(
    "ZING_PUBLIC_URL", "", "What picture links start with; the address listened on if not given."
)
TRUSTED_PROXIES = Setting(
    "ZING_TRUSTED_PROXIES",
    "",
    "Proxies whose X-Forwarded-For and -Proto count: addresses or networks, with commas.",
)
CORS = Setting(
    "ZING_CORS", "", "Origins whose pages may call the service, with commas; * for every site's."
)
CONNECTIONS = Setting("ZING_CONNECTIONS", "4096", "Connections at a time, 1 address's at most 1/4.")
PRICE = Setting("ZING_PRICE", "0.026", "Credits for one picture.")
LINK_TTL = Setting("ZING_LINK_TTL", "86400", "Seconds that a picture is kept and its links work.")
METADATA = Setting(
    "ZING_METADATA", "off", "Whether the files behind links say how they were made: on or off."
)
BLOBS_QUOTA = Setting(
    "ZING_BLOBS_QUOTA", "", "Bytes that all pictures may take, such as 20G; no bound if not given."
)
DISK_FLOOR = Setting(
    "ZING_DISK_FLOOR", "256M", "Bytes that stay free on the disk; new tasks are refused below it."
)
KEEP_PROMPTS = Setting(
    "ZING_KEEP_PROMPTS", "yes", "no: a prompt is forgotten when its task has ended and was told."
)
LEASE = Setting("ZING_LEASE", "6", "Seconds without a sign of life after which a worker is dead.")
TASK_TIMEOUT = Setting("ZING_TASK_TIMEOUT", "600", "Seconds that drawing one picture may take.")
QUEUE_TIMEOUT = Setting(
    "ZING_QUEUE_TIMEOUT", "86400", "Seconds after which a task that nobody drew has failed."
)
QUEUE_MAX = Setting("ZING_QUEUE_MAX", "10000", "Tasks that wait, of all accounts, at most.")
OPEN_MAX = Setting("ZING_OPEN_MAX", "1000", "Tasks of one account that wait or are drawn, at most.")
GROUP_MAX = Setting("ZING_GROUP_MAX", "64", "Tasks that one commit accepts, at most.")
LOG = Setting("ZING_LOG", "text", "How the log is written: text, or json for one object a line.")
DRAIN = Setting("ZING_DRAIN", "30", "Seconds to finish what runs when the service is stopped.")
CALLBACK_ALLOW = Setting(
    "ZING_CALLBACK_ALLOW", "", "Hosts that callbacks go to, with commas; all where empty."
)
CALLBACK_DENY = Setting(
    "ZING_CALLBACK_DENY", "proxy.kie.ai", "Hosts that callbacks never go to, with commas, or none."
)
CALLBACK_PRIVATE = Setting(
    "ZING_CALLBACK_PRIVATE", "", "Hosts of your own network that callbacks may go to, with commas."
)
CALLBACK_PORTS = Setting("ZING_CALLBACK_PORTS", "443", "Ports that callbacks go to, with commas.")
EGRESS_PROXY = Setting(
    "ZING_EGRESS_PROXY", "", "http://HOST:PORT of a proxy that leads to all but private hosts."
)
KIE_HTTP = Setting(
    "ZING_KIE_HTTP", "body", "Where kie.ai's codes are: body, or mirror for the HTTP status too."
)
KEY_FAILURES = Setting(
    "ZING_KEY_FAILURES", "20/600", "Wrong keys an address: 20, then 1 in 600/20 s; none: any."
)
KIE_RATE = Setting(
    "ZING_KIE_RATE", "20/10", "New tasks an account by kie.ai's API: 20 in 10 seconds; none: any."
)
EVOLINK_CANCELLED = Setting(
    "ZING_EVOLINK_CANCELLED", "cancelled", "EvoLink's word for a cancelled task, or failed."
)
ZIT_WAIT = Setting(
    "ZING_ZIT_WAIT_S", "0", "Seconds that zimageturbo.ai's submit waits for the picture."
)
ZIT_PROMPT_MAX = Setting(
    "ZING_ZIT_PROMPT_MAX", "1000", "Characters of a prompt that zimageturbo.ai's submit takes."
)
EXTEND_URL = Setting(
    "ZING_EXTEND_URL", "", "An OpenAI-compatible base URL (…/v1) that extends prompts; off if none."
)
EXTEND_MODEL = Setting("ZING_EXTEND_MODEL", "", "The model that extends prompts.")
EXTEND_KEY = Setting("ZING_EXTEND_KEY", "", "The key for the server that extends prompts.")
EXTEND_PRIVATE = Setting(
    "ZING_EXTEND_PRIVATE", "", "Hosts of your own network that may extend prompts, with commas."
)
EXTEND_TIMEOUT = Setting("ZING_EXTEND_TIMEOUT", "8", "Seconds that extending a prompt may take.")

THREADS_MAX = 1024
PORT_MAX = 65535
SECONDS_MAX = 10**9


def parse_threads(text: str) -> int:
    """The number of CPU threads that a text names; `auto` is what may be used."""
    if text == THREADS.default:
        return cpu_threads()
    if not re.fullmatch(r"\d{1,4}", text, re.ASCII) or not 1 <= int(text) <= THREADS_MAX:
        raise BadSetting(f"{text!r} threads cannot be used: auto or 1 to {THREADS_MAX} can.")
    return int(text)


def read(setting: Setting) -> str:
    """A setting's value: the variable's, or the default."""
    return os.environ.get(setting.variable) or setting.default


def emptied(setting: Setting) -> bool:
    """Whether a setting's variable is there and says nothing, or `none`: not even the default."""
    return os.environ.get(setting.variable, setting.default).strip() in ("", "none")


def seconds(setting: Setting, low: float = 0.001, high: float = SECONDS_MAX) -> float:
    """The value of a setting that is a number of seconds."""
    text = read(setting)
    if not re.fullmatch(r"\d{1,10}(\.\d{1,3})?", text, re.ASCII) or not low <= float(text) <= high:
        raise BadSetting(
            f"{setting.variable}={text!r} is not a number of seconds from {low:g} to {high:g}."
        )
    return float(text)


def whole_number(setting: Setting, low: int, high: int) -> int:
    """The value of a setting that is a whole number."""
    text = read(setting)
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not low <= int(text) <= high:
        raise BadSetting(f"{setting.variable}={text!r} is not a whole number from {low} to {high}.")
    return int(text)


def size(setting: Setting) -> int:
    """The value of a setting that is a number of bytes, such as 512M or 20G: 1024 to the power."""
    text = read(setting)
    match = re.fullmatch(r"(\d{1,15})([KMGT]?)", text, re.ASCII)
    if match is None:
        raise BadSetting(
            f"{setting.variable}={text!r} is not a number of bytes such as 512M or 20G."
        )
    return int(match[1]) << 10 * " KMGT".index(match[2] or " ")


def choice(setting: Setting, *words: str) -> str:
    """The value of a setting that is one of some words."""
    text = read(setting)
    if text not in words:
        raise BadSetting(f"{setting.variable}={text!r} is not {' or '.join(words)}.")
    return text


def parse_port(text: str) -> int:
    """The TCP port that a text names; 0 is any free one."""
    if not re.fullmatch(r"\d{1,5}", text, re.ASCII) or int(text) > PORT_MAX:
        raise BadSetting(f"{text!r} is not a port: 0 to {PORT_MAX} are.")
    return int(text)


def folder(text: str) -> Path:
    """The folder that a text names, `~` expanded where there is such a home."""
    if not text:
        raise BadSetting("The folder's name is empty.")
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises


def cpu_threads() -> int:
    """How many threads to compute with: no more than affinity and the cgroup's quota allow.

    More threads than free cores is far slower than fewer, so a container's quota counts.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, _quota()))


def _quota(path: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Whole CPUs that cgroup v2 grants; very many where it sets no limit."""
    try:
        quota, period = path.read_text(encoding="ascii").split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return 2**16
