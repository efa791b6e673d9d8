#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "bindings.h"
#include "errors.h"
#include "sipc/address_map.h"
#include "sipc/writer.h"
#include "worker/content_hash.h"
#include "worker/handover.h"
#include "worker/leaving.h"
#include "worker/shim_client.h"

namespace nb = nanobind;

namespace zerrow::python {

namespace {

using worker::Handover;

using SegmentTuple = std::tuple<uint64_t, int64_t, int>;  // id, size, fd

nb::object Open(Handover& handover, const std::string& format, int message,
                const std::vector<SegmentTuple>& segments, SegmentId message_id) {
  std::vector<worker::GrantedSegment> granted;
  for (const auto& [id, size_bytes, fd] : segments) granted.push_back({id, size_bytes, fd});
  auto table = [&]() -> arrow::Result<std::shared_ptr<arrow::Table>> {
    nb::gil_scoped_release released;
    ARROW_ASSIGN_OR_RAISE(const auto parsed, worker::ParseFormat(format));
    return handover.Open(parsed, message, granted, message_id);
  }();
  return WrapTable(ValueOrThrow(std::move(table)));
}

arrow::Result<worker::Published> PublishBy(Handover& handover, const std::string& backend,
                                           uint64_t segment, const arrow::Table& table,
                                           bool looked_at) {
  using Leaves = shm::KernelZero::Leaves;
  if (backend == "memfd") {
    return handover.PublishByReference(table, worker::ShareableRanges(table));
  }
  if (backend == "kernelzero") {
    return handover.PublishByMoving(table, segment, looked_at ? Leaves::kViews : Leaves::kZeros);
  }
  return handover.PublishByCopy(table);
}

// (fields of the "output" message, descriptors of the message and of a segment, if one was made):
// the caller owns the descriptors.
nb::object Publish(Handover& handover, nb::handle py_table, const std::string& backend,
                   uint64_t segment, bool content_reshare, bool split, bool account, bool hash,
                   bool looked_at) {
  const auto table = UnwrapTable(py_table);
  std::string content_hash;
  const bool copies = backend != "memfd" && backend != "kernelzero";
  auto result = [&]() -> arrow::Result<worker::Published> {
    nb::gil_scoped_release released;
    // Of what can't be hashed there is none: that is no reason to fail.
    if (hash) {
      const auto hashed = worker::HashContent(*table);
      if (hashed.ok()) content_hash = worker::ToString(*hashed);
    }
    worker::Reshared reshared = {table};
    if (content_reshare && !copies) reshared = handover.ReshareContent(table, split);
    // First, as the table's memory may be empty once it is published.
    std::optional<int64_t> duplicate_bytes;
    if (account) duplicate_bytes = handover.CountDuplicates(reshared.table);
    ARROW_ASSIGN_OR_RAISE(auto published,
                          PublishBy(handover, backend, segment, *reshared.table, looked_at));
    published.bytes.content_reshared_bytes = reshared.bytes;
    published.bytes.duplicate_bytes = duplicate_bytes;
    return published;
  }();
  worker::Published published = ValueOrThrow(std::move(result));
  const ByteCounts& counts = published.bytes;
  nb::dict fields;
  fields["format"] = std::string(worker::ToString(published.format));
  fields["rows"] = published.rows;
  fields["reshared_bytes"] = counts.reshared_bytes;
  fields["content_reshared_bytes"] = counts.content_reshared_bytes;
  fields["new_bytes"] = counts.new_bytes;
  fields["copied_bytes"] = counts.copied_bytes;
  fields["duplicate_bytes"] =
      counts.duplicate_bytes ? nb::cast(*counts.duplicate_bytes) : nb::none();
  fields["hash"] = content_hash.empty() ? nb::object(nb::none()) : nb::cast(content_hash);
  fields["not_moved"] = published.not_moved.message();
  std::vector<int> fds = {published.message.release()};
  if (published.moved.valid()) fds.push_back(published.moved.release());
  return nb::make_tuple(fields, fds);
}

int Encode(nb::handle py_table) {
  const auto table = UnwrapTable(py_table);
  auto file = [&] {
    nb::gil_scoped_release released;
    return sipc::EncodeToMemfd("zerrow-column", *table, {});
  }();
  return ValueOrThrow(std::move(file)).fd.release();
}

}  // namespace

void BindHandover(nb::module_& module) {
  nb::class_<Handover>(module, "Handover",
                       "Opens a function's inputs and publishes its output. See "
                       "src/worker/handover.h.")
      .def(nb::init<>())
      .def("open", &Open, nb::arg("format"), nb::arg("message"),
           nb::arg("segments") = std::vector<SegmentTuple>(), nb::arg("message_id") = 0,
           "The table of a message; segments are (id, size, fd), and the message is one itself if "
           "it has an id. Borrows the descriptors.")
      .def("publish", &Publish, nb::arg("table"), nb::arg("backend"), nb::arg("segment") = 0,
           nb::arg("content_reshare") = false, nb::arg("split") = false, nb::arg("account") = false,
           nb::arg("hash") = false, nb::arg("looked_at") = true,
           "(fields, fds): what the engine is told, and descriptors that the caller owns: a sealed "
           "memfd, and with kernelzero the file that became `segment`, if anything was moved. "
           "With `content_reshare` what equals an opened table's buffers refers to those, with "
           "`split` also where that needs chunks as that table has them; with "
           "`account` duplicate_bytes are counted, with `hash` the table's content is hashed; "
           "not_moved is why kernelzero copied everything, empty if it didn't. With kernelzero the "
           "table's memory may be empty afterwards, unless it may still be `looked_at`.")
      .def("leave", &worker::Leave, nb::arg("channel"),
           "Ends the process: lets go of all that the engine granted, says so over the channel, "
           "exits with status 0. No other Python code runs any more. See src/worker/leaving.h.");

  module.def("encode", &Encode, nb::arg("table"),
             "A sealed memfd, which the caller owns, with a SIPC message that refers to nothing: "
             "all of the table's bytes are in it.");
  module.def("shim_loaded", &worker::ShimLoaded);
  module.def(
      "start_shim", [](int broker) { ThrowNotOk(worker::StartShim(base::UniqueFd(broker))); },
      nb::arg("broker"), "Takes ownership of the socket.");
}

}  // namespace zerrow::python
