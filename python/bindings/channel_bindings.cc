#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/channel.h"
#include "base/fd_limit.h"
#include "bindings.h"
#include "errors.h"
#include "json_objects.h"

namespace nb = nanobind;

namespace zerrow::python {

namespace {

using std::chrono::milliseconds;

void Send(base::Channel& channel, nb::handle body, const std::vector<int>& fds, int timeout_ms) {
  const nlohmann::json message = ToJson(body);
  arrow::Status status;
  {
    nb::gil_scoped_release released;
    status = channel.Send(message, fds, milliseconds(timeout_ms));
  }
  ThrowNotOk(status);
}

// None when the peer is gone; else (body, descriptors), and the caller owns the descriptors.
nb::object Receive(base::Channel& channel, int timeout_ms) {
  arrow::Result<std::optional<base::Message>> received = [&] {
    nb::gil_scoped_release released;
    // A table is a descriptor per segment: more than a worker's own code may open, perhaps.
    const base::RaisedFdLimit raised;
    return channel.Receive(milliseconds(timeout_ms));
  }();
  std::optional<base::Message> message = ValueOrThrow(std::move(received));
  if (!message) return nb::none();
  nb::object body = FromJson(message->body);
  nb::list fds;
  for (base::UniqueFd& fd : message->fds) fds.append(fd.release());
  return nb::make_tuple(body, fds);
}

}  // namespace

void BindChannel(nb::module_& module) {
  nb::class_<base::Channel>(module, "Channel",
                            "Messages of JSON and file descriptors between two processes.")
      .def(
          "__init__",
          [](base::Channel* self, int fd) { new (self) base::Channel(base::UniqueFd(fd)); },
          nb::arg("fd"), "Takes ownership of the socket.")
      .def_static("make_pair",
                  [] {
                    auto pair = ValueOrThrow(base::Channel::MakePair());
                    return nb::make_tuple(nb::cast(std::move(pair.first)),
                                          nb::cast(std::move(pair.second)));
                  })
      .def("fileno", &base::Channel::fd)
      .def("send", &Send, nb::arg("body"), nb::arg("fds") = std::vector<int>(),
           nb::arg("timeout_ms") = 30'000)
      .def("receive", &Receive, nb::arg("timeout_ms") = -1,
           "(body, fds), or None when the peer is gone. The caller owns the fds.");
}

}  // namespace zerrow::python
