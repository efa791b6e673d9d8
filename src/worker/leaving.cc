#include "worker/leaving.h"

#include <unistd.h>

#include <csignal>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/channel.h"
#include "worker/shim_client.h"

namespace zerrow::worker {

namespace {

// A library's idle thread that wakes up meanwhile is no crash that anybody needs to hear of.
void EndQuietly() {
  struct sigaction action {};
  action.sa_handler = [](int) { ::_exit(0); };
  for (const int signal : {SIGSEGV, SIGBUS}) ::sigaction(signal, &action, nullptr);
}

void CloseAllBut(int fd) {
  const auto kept = static_cast<unsigned>(fd);
  if (kept > 0) ::close_range(0, kept - 1, 0);
  ::close_range(kept + 1, std::numeric_limits<unsigned>::max(), 0);
}

}  // namespace

void Leave(const Handover& handover, int channel) {
  base::Channel engine{base::UniqueFd(channel)};
  const nlohmann::json left = {{"op", "left"}};
  EndQuietly();
  handover.LetGo();
  LetGoOfChunks();
  CloseAllBut(channel);
  // Where nobody hears it the process's end tells all.
  [[maybe_unused]] const auto sent = engine.Send(left, {}, std::chrono::milliseconds(0));
  ::_exit(0);
}

}  // namespace zerrow::worker
