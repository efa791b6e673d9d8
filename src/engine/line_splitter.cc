#include "engine/line_splitter.h"

#include <algorithm>

namespace zerrow::engine {

void LineSplitter::Add(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t newline = bytes.find('\n');
    const size_t room = kMaxLineBytes - partial_.size();
    const size_t length = std::min({newline, bytes.size(), room});
    partial_.append(bytes.substr(0, length));
    bytes.remove_prefix(length);
    const bool line_ends = length == newline;
    if (line_ends) bytes.remove_prefix(1);
    if (!line_ends && partial_.size() < kMaxLineBytes) continue;
    if (line_ends && partial_.ends_with('\r')) partial_.pop_back();
    sink_(partial_);
    partial_.clear();
  }
}

void LineSplitter::Finish() {
  if (!partial_.empty()) sink_(partial_);
  partial_.clear();
}

}  // namespace zerrow::engine
