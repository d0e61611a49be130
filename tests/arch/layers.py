# Think hard before you widen this: every arrow added here is one that nobody will take out again.
"""Which folder may include which, and which calls are banned where. Tables only; `check.py` holds the tree against them.

To widen the layer table takes an ADR in docs/adr.
"""

# proto <- raft <- storage <- broker;  client -> proto, raft/runtime. A folder may include itself, and these.
# Generated headers count as the folders millrace/v1 and millrace/internal/v1, public ones as the folder that they lie in.
_BASE = {"proto/base", "proto/millrace"}
_RUNTIME = _BASE | {"raft/runtime"}
_RAFT = _RUNTIME | {"proto/frame", "raft/core", "raft/ports"}
_STORAGE = _RAFT | {"raft/codec", "storage/file", "millrace/internal/v1"}
_PUBLIC = {"millrace/v1"}
_CONTROLLER = _RAFT | _PUBLIC | {"broker/config", "millrace/internal/v1"}
_PARTITION = _CONTROLLER | {"proto/record", "broker/controller"}
_SERVICE = _PARTITION | {"broker/api", "broker/partition", "broker/routing"}

LAYERS = {
    "proto/millrace": set(),
    "proto/base": {"proto/millrace"},
    "proto/frame": _BASE,
    "proto/record": _BASE,
    "raft/runtime": _BASE,
    "raft/core": _RUNTIME | {"proto/frame"},
    "raft/ports": _RUNTIME | {"proto/frame", "raft/core"},
    "raft/host": _RAFT | {"raft/codec"},
    "raft/codec": _RUNTIME | {"proto/frame", "raft/core", "millrace/internal/v1"},
    "raft/net": _RAFT | {"raft/codec", "millrace/internal/v1"},
    "storage/file": _RUNTIME,
    "storage/superblock": _RUNTIME | {"storage/file"},
    "storage/kv": _RUNTIME,
    "storage/journal": _STORAGE,
    "storage/segment": _STORAGE | {"storage/journal"},
    "storage/logstore": _STORAGE | {"storage/journal", "storage/segment"},
    "broker/config": _RUNTIME,
    "broker/controller": _CONTROLLER,
    "broker/api": _RUNTIME | _PUBLIC,
    "broker/partition/compaction": _RAFT | {"proto/record"},
    "broker/partition": _PARTITION | {"broker/partition/compaction", "raft/host"},
    "broker/coordinator": _PARTITION | {"broker/api"},
    "broker/replicas": _PARTITION | {"broker/coordinator", "broker/partition", "raft/host"},
    "broker/routing": _PARTITION | {"broker/api", "broker/coordinator", "broker/partition", "raft/codec"},
    "broker/service/produce": _SERVICE,
    "broker/service/fetch": _SERVICE,
    "broker/service/group": _SERVICE | {"broker/coordinator"},
    # A member of a group and its reader in one stream: what both do is done there.
    "broker/service/consume": _SERVICE | {"broker/service/fetch", "broker/service/group"},
    "broker/service/metadata": _SERVICE,
    "broker/service/transaction": _SERVICE | {"broker/coordinator"},
    "broker/node": _SERVICE | {"broker/coordinator", "broker/replicas", "broker/service/produce", "broker/service/fetch",
                               "broker/service/group", "broker/service/consume", "broker/service/metadata",
                               "broker/service/transaction",
                               "raft/host", "raft/net", "storage/file", "storage/logstore", "storage/superblock"},
    "broker/inspect": _CONTROLLER | {"broker/controller", "client/cli", "raft/codec", "storage/file", "storage/journal",
                                     "storage/segment", "storage/superblock"},
    "broker/edge": _RUNTIME | _PUBLIC | {"broker/api", "millrace/internal/v1"},
    # broker/main.cc, the one place that wires concrete things together.
    "broker": _RUNTIME | {"broker/config", "broker/edge", "broker/inspect", "broker/node", "client/cli", "storage/file"},
    "client/core": _RUNTIME | _PUBLIC | {"proto/record"},
    "client/grpc": _RUNTIME | {"client/core"},
    "client/include/millrace": {"proto/millrace"},
    "client/api": _RUNTIME | {"proto/record", "client/core", "client/grpc", "client/include/millrace"},
    # On the public library alone.
    "client/cli": _RUNTIME | {"proto/record", "client/include/millrace"},
}

# What lies here is included as it is where the library is installed: "millrace/status.h".
PUBLIC_HEADERS = ("proto/millrace", "client/include/millrace")

# Folders at the top that hold code under these rules. Tests may include everything.
CODE_TOPS = ("proto", "raft", "storage", "broker", "client")
TOPS = CODE_TOPS + ("tests",)

# The world's real implementations. What touches threads, clocks, files or sockets is here or nowhere.
_REAL = ("raft/runtime/", "storage/file/", "broker/edge/", "client/grpc/grpc_connector.cc")

# (what, pattern over code without comments and strings, what to take instead, where it is allowed).
BANNED = (
    ("std::chrono clocks", r"\bchrono::\w+::now\s*\(", "take Clock& (raft/runtime/clock.h)", _REAL),
    ("rand", r"(?<![\w.>:])(?:std::)?s?rand\s*\(", "take Random (raft/runtime/random.h)", ()),
    ("std::random_device", r"\brandom_device\b", "take Random (raft/runtime/random.h)", _REAL),
    ("sleeping", r"\bsleep_(?:for|until)\b|(?<![\w.>:])u?sleep\s*\(|\bnanosleep\s*\(",
     "use Executor::RunAfter (raft/runtime/executor.h)", ("raft/runtime/",)),
    ("getenv", r"\bgetenv\s*\(", "take the value from main, as broker/config does",
     ("broker/main.cc", "client/cli/cli.cc")),
    ("std::thread", r"\bstd::j?thread\b", "post to an Executor (raft/runtime/executor.h)", _REAL),
    ("locks", r"\bstd::(?:\w+_)?mutex\b|\bstd::condition_variable\w*\b|\bstd::(?:unique|lock)_(?:lock|guard)\b",
     "own it on one thread and post messages (raft/runtime/executor.h)", _REAL + ("client/api/",)),
    ("file calls", r"(?<![\w.>:])(?:::)?(?:open|openat|creat|pwrite|pwritev|fsync|fdatasync|rename|unlink)\s*\(",
     "take FileSystem& (storage/file/file_system.h)", ("storage/file/", "client/cli/line_source.cc", "client/cli/standard_files.cc")),
    ("flags of whether an owner is gone", r"\b(?:make_shared|shared_ptr)\s*<\s*(?:const\s+)?bool\s*>",
     "take a Lifetime (raft/runtime/lifetime.h)", ("raft/runtime/lifetime.h",)),
    ("gRPC headers", r"^\s*#\s*include\s*<grpc", "speak through broker/api/call.h or client/core/connector.h",
     ("broker/edge/", "client/grpc/")),
)

# Text that would tie the tree to one machine.
MACHINE_TEXT = (
    (r"(?<![\w.])/(?:work)/(?:main|shared)\b", "a path of one machine"),
    (r"/tmp/build-", "a path of one machine"),
    (r"https?://(?:pypi\.org|files\.pythonhosted\.org|registry\.npmjs\.org|crates\.io|proxy\.golang\.org|"
     r"(?:[\w-]+\.)*maven(?:\.apache)?\.org|deb\.debian\.org)",
     "the address of a package registry"),
)

BLOB_BYTES_MAX = 200_000
BLOB_FOLDERS = ("tests/data/",)
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
