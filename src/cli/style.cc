#include "cli/style.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

namespace zerrow::cli {

bool IsLiveTerminal(int fd) {
  const char* terminal = std::getenv("TERM");
  return ::isatty(fd) == 1 && terminal != nullptr && std::string_view(terminal) != "dumb";
}

Style StyleOf(int fd) {
  const char* no_color = std::getenv("NO_COLOR");
  const bool refused = no_color != nullptr && *no_color != '\0';
  if (!IsLiveTerminal(fd)) return {};
  winsize size{};
  const bool known = ::ioctl(fd, TIOCGWINSZ, &size) == 0;
  return Style{.color = !refused, .width = known ? size.ws_col : size_t{0}};
}

}  // namespace zerrow::cli
