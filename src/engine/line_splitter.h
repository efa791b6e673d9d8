// Cuts a stream of bytes into lines of bounded length. Not thread-safe; owns its partial line.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace zerrow::engine {

class LineSplitter {
 public:
  /// Gets each line without its newline; a longer one arrives in pieces of this size.
  static constexpr size_t kMaxLineBytes = 16 * 1024;
  using Sink = std::function<void(std::string_view line)>;

  explicit LineSplitter(Sink sink) : sink_(std::move(sink)) {}

  void Add(std::string_view bytes);
  /// The stream has ended: what is left is the last line.
  void Finish();

 private:
  Sink sink_;
  std::string partial_;
};

}  // namespace zerrow::engine
