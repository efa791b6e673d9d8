// How text looks on a stream: colours and width, where somebody looks at it.
//
// Value type; any thread. A stream is coloured if it is a terminal that isn't dumb and NO_COLOR
// isn't set to something; elsewhere tables are as wide as they need to be.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace zerrow::cli {

struct Style {
  bool color = false;
  size_t width = 0;  // characters in a line; 0: any number

  std::string bold() const { return color ? "\033[1m" : ""; }
  std::string dim() const { return color ? "\033[2m" : ""; }
  std::string red() const { return color ? "\033[31m" : ""; }
  std::string green() const { return color ? "\033[32m" : ""; }
  std::string yellow() const { return color ? "\033[33m" : ""; }
  std::string cyan() const { return color ? "\033[36m" : ""; }

  /// `text` between `start`, one of the above, and a reset.
  std::string Wrap(const std::string& start, std::string_view text) const {
    return start.empty() ? std::string(text) : start + std::string(text) + "\033[0m";
  }
};

/// Whether something that moves, such as a progress line, may be written to this descriptor.
bool IsLiveTerminal(int fd);

Style StyleOf(int fd);

}  // namespace zerrow::cli
