"""The real Qdrant engine behind Qdrant's own gRPC protocol: a server for tests.

Qdrant's server is in no package registry, but its engine is (`qdrant-edge-py`), and so are the protocol's stubs (`qdrant-client`). This puts one
in front of the other: one shard per collection, kept on disk with its write-ahead log, so that the process may be killed and started again.
It does what `sid-store-qdrant` asks for and refuses the rest; it is no cluster, and no server for anything but tests.

    python3 crates/sid-testkit/src/qdrant_engine.py --data FOLDER [--port PORT] [--api-key KEY] [--parts FOLDER]

It prints `listening on 127.0.0.1:PORT` when it is ready. `--parts` is what `cargo xtask setup qdrant` has installed.
"""

import argparse
import json
import os
import shutil
import sys
import threading
import time
import types
from concurrent import futures


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--api-key")
    parser.add_argument("--parts")
    return parser.parse_args()


ARGS = arguments() if __name__ == "__main__" else argparse.Namespace(parts=None)
if ARGS.parts:
    sys.path.insert(0, ARGS.parts)
# Of `qdrant_client` only the generated stubs are used; the package itself would want its HTTP client and more.
_parts = next(p for p in sys.path if os.path.isdir(os.path.join(p, "qdrant_client", "grpc")))
_package = types.ModuleType("qdrant_client")
_package.__path__ = [os.path.join(_parts, "qdrant_client")]
sys.modules["qdrant_client"] = _package

import grpc  # noqa: E402
import qdrant_edge as edge  # noqa: E402
from qdrant_client import grpc as q  # noqa: E402

# The server release whose protocol this follows; clients compare it with their own.
VERSION = "1.18.3"
DISTANCES = {
    q.Distance.Cosine: edge.Distance.Cosine,
    q.Distance.Dot: edge.Distance.Dot,
    q.Distance.Euclid: edge.Distance.Euclid,
    q.Distance.Manhattan: edge.Distance.Manhattan,
}
SCHEMAS = {
    q.FieldType.FieldTypeKeyword: edge.PayloadSchemaType.Keyword,
    q.FieldType.FieldTypeInteger: edge.PayloadSchemaType.Integer,
    q.FieldType.FieldTypeUuid: edge.PayloadSchemaType.Uuid,
}
# Qdrant optimises by itself; the shard does when it is asked to.
OPTIMISE_FROM = 20_000
OPTIMISE_EVERY = 30


class Refused(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def missing(name):
    return Refused(grpc.StatusCode.NOT_FOUND, f"Not found: Collection `{name}` doesn't exist!")


def unsupported(what):
    return Refused(grpc.StatusCode.UNIMPLEMENTED, f"this test server does not know {what}")


class Collection:
    """One shard on disk, and what it was made with."""

    def __init__(self, folder, about, shard):
        self.folder, self.about, self.shard = folder, about, shard
        self.lock = threading.RLock()
        self.changed = False

    @classmethod
    def create(cls, folder, about):
        os.makedirs(folder)
        hnsw = about["hnsw"]
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=about["size"], distance=DISTANCES[about["distance"]]),
            hnsw_config=edge.HnswIndexConfig(
                m=hnsw["m"], ef_construct=hnsw["ef_construct"], full_scan_threshold=hnsw["full_scan_threshold"], payload_m=hnsw["payload_m"]
            ),
        )
        shard = edge.EdgeShard.create(os.path.join(folder, "shard"), config)
        # Last: a folder without it is what a kill has left of a creation.
        write(os.path.join(folder, "collection.json"), about)
        return cls(folder, about, shard)

    @classmethod
    def load(cls, folder):
        with open(os.path.join(folder, "collection.json"), encoding="utf-8") as file:
            about = json.load(file)
        return cls(folder, about, edge.EdgeShard.load(os.path.join(folder, "shard")))

    def update(self, operation):
        with self.lock:
            self.shard.update(operation)
            self.changed = True

    def optimise(self):
        with self.lock:
            if self.changed and self.shard.info().points_count >= OPTIMISE_FROM:
                self.changed = False
                self.shard.optimize()


def write(path, value):
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.replace(path + ".new", path)


class Engine:
    """All collections of a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.lock = threading.Lock()
        self.all = {}
        os.makedirs(folder, exist_ok=True)
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if os.path.isfile(os.path.join(path, "collection.json")):
                self.all[name] = Collection.load(path)
            else:
                shutil.rmtree(path, ignore_errors=True)

    def get(self, name):
        with self.lock:
            if name not in self.all:
                raise missing(name)
            return self.all[name]

    def create(self, name, about):
        with self.lock:
            if name in self.all:
                raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"Wrong input: Collection `{name}` already exists!")
            self.all[name] = Collection.create(os.path.join(self.folder, name), about)

    def delete(self, name):
        with self.lock:
            collection = self.all.pop(name, None)
        if collection is None:
            return False
        with collection.lock:
            os.remove(os.path.join(collection.folder, "collection.json"))
            collection.shard.close()
            shutil.rmtree(collection.folder, ignore_errors=True)
        return True

    def optimise_for_ever(self):
        while True:
            time.sleep(OPTIMISE_EVERY)
            with self.lock:
                collections = list(self.all.values())
            for collection in collections:
                collection.optimise()


# ---- from the wire to the engine, and back


def point_id(wire):
    return wire.num if wire.WhichOneof("point_id_options") == "num" else wire.uuid


def wire_id(known):
    return q.PointId(num=known) if isinstance(known, int) else q.PointId(uuid=str(known))


def value(wire):
    kind = wire.WhichOneof("kind")
    if kind in ("bool_value", "integer_value", "double_value", "string_value"):
        return getattr(wire, kind)
    if kind == "list_value":
        return [value(v) for v in wire.list_value.values]
    if kind == "struct_value":
        return {k: value(v) for k, v in wire.struct_value.fields.items()}
    return None


def wire_value(known):
    if isinstance(known, bool):
        return q.Value(bool_value=known)
    if isinstance(known, int):
        return q.Value(integer_value=known)
    if isinstance(known, float):
        return q.Value(double_value=known)
    if isinstance(known, str):
        return q.Value(string_value=known)
    if isinstance(known, list):
        return q.Value(list_value=q.ListValue(values=[wire_value(v) for v in known]))
    if isinstance(known, dict):
        return q.Value(struct_value=q.Struct(fields={k: wire_value(v) for k, v in known.items()}))
    return q.Value(null_value=0)


def wire_payload(known):
    return {k: wire_value(v) for k, v in (known or {}).items()}


def match(wire):
    kind = wire.WhichOneof("match_value")
    if kind in ("keyword", "integer", "boolean"):
        return edge.MatchValue(getattr(wire, kind))
    if kind == "keywords":
        return edge.MatchAny(list(wire.keywords.strings))
    if kind == "integers":
        return edge.MatchAny(list(wire.integers.integers))
    raise unsupported(f"matching by {kind}")


def condition(wire):
    kind = wire.WhichOneof("condition_one_of")
    if kind == "filter":
        return a_filter(wire.filter)
    if kind == "has_id":
        return edge.HasIdCondition({point_id(i) for i in wire.has_id.has_id})
    if kind != "field":
        raise unsupported(f"the condition {kind}")
    field = wire.field
    if field.HasField("match"):
        return edge.FieldCondition(field.key, match=match(field.match))
    if field.HasField("range"):
        bounds = {name: getattr(field.range, name) for name in ("gte", "gt", "lte", "lt") if field.range.HasField(name)}
        return edge.FieldCondition(field.key, range=edge.RangeFloat(**bounds))
    raise unsupported(f"this condition on {field.key}")


def a_filter(wire):
    if wire.HasField("min_should"):
        raise unsupported("min_should")
    each = {name: [condition(c) for c in getattr(wire, name)] or None for name in ("must", "should", "must_not")}
    return edge.Filter(**each) if any(each.values()) else None


def filter_of(request):
    return a_filter(request.filter) if request.HasField("filter") else None


def with_payload(request):
    return request.with_payload.enable or len(request.with_payload.include.fields) > 0


def dense(wire):
    """A vector as clients of several ages write it."""
    kind = wire.WhichOneof("vectors_options")
    if kind != "vector":
        raise unsupported("named vectors")
    inner = wire.vector.WhichOneof("vector")
    if inner == "dense":
        return list(wire.vector.dense.data)
    if inner is None and wire.vector.data:
        return list(wire.vector.data)
    raise unsupported(f"vectors that are {inner}")


def completed():
    return q.UpdateResult(operation_id=0, status=q.UpdateStatus.Completed)


class Collections(q.CollectionsServicer):
    def __init__(self, engine):
        self.engine = engine

    def Get(self, request, context):
        collection = self.engine.get(request.collection_name)
        about, info = collection.about, collection.shard.info()
        params = q.VectorParams(size=about["size"], distance=about["distance"])
        config = q.CollectionConfig(
            params=q.CollectionParams(vectors_config=q.VectorsConfig(params=params), shard_number=1, on_disk_payload=True),
            hnsw_config=q.HnswConfigDiff(**about["hnsw"]),
        )
        schema = {name: q.PayloadSchemaInfo(data_type=kind) for name, kind in about["fields"].items()}
        result = q.CollectionInfo(
            status=q.CollectionStatus.Green,
            optimizer_status=q.OptimizerStatus(ok=True),
            segments_count=info.segments_count,
            points_count=info.points_count,
            indexed_vectors_count=info.indexed_vectors_count,
            config=config,
            payload_schema=schema,
        )
        return q.GetCollectionInfoResponse(result=result)

    def List(self, request, context):
        with self.engine.lock:
            names = sorted(self.engine.all)
        return q.ListCollectionsResponse(collections=[q.CollectionDescription(name=n) for n in names])

    def CollectionExists(self, request, context):
        with self.engine.lock:
            exists = request.collection_name in self.engine.all
        return q.CollectionExistsResponse(result=q.CollectionExists(exists=exists))

    def Create(self, request, context):
        if request.vectors_config.WhichOneof("config") != "params":
            raise unsupported("named vectors")
        params, hnsw = request.vectors_config.params, request.hnsw_config
        m = hnsw.m if hnsw.HasField("m") else 16
        about = {
            "size": params.size,
            "distance": params.distance,
            "hnsw": {
                "m": m,
                "ef_construct": hnsw.ef_construct or 100,
                "full_scan_threshold": hnsw.full_scan_threshold or 10_000,
                "payload_m": hnsw.payload_m if hnsw.HasField("payload_m") else m,
            },
            "fields": {},
        }
        self.engine.create(request.collection_name, about)
        return q.CollectionOperationResponse(result=True)

    def Delete(self, request, context):
        return q.CollectionOperationResponse(result=self.engine.delete(request.collection_name))


class Points(q.PointsServicer):
    def __init__(self, engine):
        self.engine = engine

    def CreateFieldIndex(self, request, context):
        collection = self.engine.get(request.collection_name)
        schema = SCHEMAS.get(request.field_type)
        if schema is None:
            raise unsupported(f"an index of type {request.field_type}")
        if request.field_index_params.HasField("keyword_index_params"):
            schema = edge.KeywordIndexParams(is_tenant=request.field_index_params.keyword_index_params.is_tenant)
        collection.update(edge.UpdateOperation.create_field_index(request.field_name, schema))
        with collection.lock:
            # As the protocol numbers schemas: keyword 1, integer 2, uuid 8.
            number = {q.FieldType.FieldTypeKeyword: 1, q.FieldType.FieldTypeInteger: 2}.get(request.field_type, 8)
            collection.about["fields"][request.field_name] = number
            write(os.path.join(collection.folder, "collection.json"), collection.about)
        return q.PointsOperationResponse(result=completed())

    def Upsert(self, request, context):
        if request.HasField("update_filter"):
            raise unsupported("conditional updates")
        collection = self.engine.get(request.collection_name)
        points = [
            edge.Point(point_id(p.id), dense(p.vectors), {k: value(v) for k, v in p.payload.items()}) for p in request.points
        ]
        collection.update(edge.UpdateOperation.upsert_points(points))
        return q.PointsOperationResponse(result=completed())

    def Delete(self, request, context):
        collection = self.engine.get(request.collection_name)
        which = request.points.WhichOneof("points_selector_one_of")
        if which == "points":
            operation = edge.UpdateOperation.delete_points([point_id(i) for i in request.points.points.ids])
        else:
            chosen = a_filter(request.points.filter)
            if chosen is None:
                raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "an empty filter would delete everything")
            operation = edge.UpdateOperation.delete_points_by_filter(chosen)
        collection.update(operation)
        return q.PointsOperationResponse(result=completed())

    def Get(self, request, context):
        collection = self.engine.get(request.collection_name)
        with collection.lock:
            found = collection.shard.retrieve([point_id(i) for i in request.ids], with_payload=True, with_vector=False)
        return q.GetResponse(result=[q.RetrievedPoint(id=wire_id(r.id), payload=wire_payload(r.payload)) for r in found])

    def Query(self, request, context):
        collection = self.engine.get(request.collection_name)
        nearest = request.query.nearest
        if request.query.WhichOneof("variant") != "nearest" or nearest.WhichOneof("variant") != "dense" or request.prefetch:
            raise unsupported("queries for anything but the nearest to a dense vector")
        return q.QueryResponse(result=self.nearest(collection, list(nearest.dense.data), request, request.limit or 10))

    def Search(self, request, context):
        collection = self.engine.get(request.collection_name)
        return q.SearchResponse(result=self.nearest(collection, list(request.vector), request, request.limit))

    def nearest(self, collection, vector, request, limit):
        asked = edge.QueryRequest(
            limit=limit,
            offset=request.offset,
            query=edge.Query.Nearest(vector),
            filter=filter_of(request),
            with_payload=with_payload(request),
            with_vector=False,
            score_threshold=request.score_threshold if request.HasField("score_threshold") else None,
        )
        with collection.lock:
            found = collection.shard.query(asked)
        return [q.ScoredPoint(id=wire_id(p.id), payload=wire_payload(p.payload), score=p.score, version=p.version) for p in found]

    def Scroll(self, request, context):
        collection = self.engine.get(request.collection_name)
        asked = edge.ScrollRequest(
            offset=point_id(request.offset) if request.HasField("offset") else None,
            limit=request.limit if request.HasField("limit") else 10,
            filter=filter_of(request),
            with_payload=with_payload(request),
            with_vector=False,
        )
        with collection.lock:
            found, following = collection.shard.scroll(asked)
        answer = q.ScrollResponse(result=[q.RetrievedPoint(id=wire_id(r.id), payload=wire_payload(r.payload)) for r in found])
        if following is not None:
            answer.next_page_offset.CopyFrom(wire_id(following))
        return answer

    def Count(self, request, context):
        collection = self.engine.get(request.collection_name)
        with collection.lock:
            count = collection.shard.count(edge.CountRequest(exact=True, filter=filter_of(request)))
        return q.CountResponse(result=q.CountResult(count=count))


class Health(q.QdrantServicer):
    def HealthCheck(self, request, context):
        return q.HealthCheckReply(title="qdrant - vector search engine", version=VERSION)


class Guard(grpc.ServerInterceptor):
    """The API key, and errors of the engine as the statuses that Qdrant answers."""

    def __init__(self, api_key):
        self.api_key = api_key

    def intercept_service(self, continuation, details):
        handler = continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        given = dict(details.invocation_metadata).get("api-key")

        def guarded(request, context):
            if self.api_key and given != self.api_key:
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "Must provide an API key or an Authorization bearer token")
            try:
                return handler.unary_unary(request, context)
            except Refused as error:
                context.abort(error.code, str(error))
            except Exception as error:  # The engine has one kind of exception for whatever is wrong with a request.
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Wrong input: {error}")

        return grpc.unary_unary_rpc_method_handler(
            guarded, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )


def main():
    engine = Engine(ARGS.data)
    options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.so_reuseport", 0)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), interceptors=[Guard(ARGS.api_key)], options=options)
    q.add_CollectionsServicer_to_server(Collections(engine), server)
    q.add_PointsServicer_to_server(Points(engine), server)
    q.add_QdrantServicer_to_server(Health(), server)
    port = server.add_insecure_port(f"127.0.0.1:{ARGS.port}")
    if port == 0:
        sys.exit(f"port {ARGS.port} is taken")
    server.start()
    threading.Thread(target=engine.optimise_for_ever, daemon=True).start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
