// Takes apart answers as a hostile worker would give them. An input is a byte that says how the
// worker ended and what came along, and then the JSON text of its answer.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/answer.h"

namespace base = zerrow::base;
namespace engine = zerrow::engine;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  auto body = base::ParseJson({reinterpret_cast<const char*>(data + 1), size - 1});
  engine::WorkerEnd end;
  end.wait_status = data[0] % 4 == 3 ? 11 : (data[0] % 4 == 2 ? 3 << 8 : 0);
  if (body.ok()) {
    end.message = base::Message{std::move(*body), {}};
    for (int i = 0; i < data[0] / 4 % 4; ++i) {
      end.message->fds.push_back(base::MakeMemfd("fuzz").ValueOrDie());
    }
  }
  const engine::Answer answer = engine::ReadAnswer(std::move(end));
  if (const auto* output = std::get_if<engine::OutputAnswer>(&answer)) {
    if (!output->message.valid() || output->rows < 0 || output->bytes.copied_bytes < 0)
      std::abort();
  }
  if (const auto* failure = std::get_if<engine::Failure>(&answer)) {
    if (failure->error.message.empty() || failure->error.line < 0) std::abort();
  }
  return 0;
}
