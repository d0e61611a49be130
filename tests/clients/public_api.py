"""The generated Python modules of the .proto files, as one. Needs proto/ in sys.path."""
import types

import grpc


def load_api():
    """Messages and stubs of every public .proto file, under one name."""
    names = {}
    for service in ("admin", "metadata", "producer", "consumer", "group", "transaction"):
        messages, stubs = grpc.protos_and_services(f"millrace/v1/{service}_service.proto")
        names.update(vars(messages))
        names.update(vars(stubs))
    for other in ("record", "error", "group_member", "transaction"):
        names.update(vars(grpc.protos(f"millrace/v1/{other}.proto")))
    return types.SimpleNamespace(**names)
