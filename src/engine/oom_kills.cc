#include "engine/oom_kills.h"

#include <fstream>
#include <string>

namespace zerrow::engine {

int64_t CountOomKills() {
  std::ifstream file("/proc/vmstat");
  std::string key;
  int64_t value = 0;
  while (file >> key >> value) {
    if (key == "oom_kill") return value;
  }
  return 0;
}

bool IsForWantOfMemory(const RunError& error) {
  // The kernel's words, Python's, C++'s and Arrow's. A call that is to fill memory which isn't
  // there yet calls its address bad.
  for (const char* words : {"Cannot allocate memory", "MemoryError", "bad_alloc", "malloc of size",
                            "Bad address", "No buffer space available", "can't start new thread"}) {
    if (error.message.find(words) != std::string::npos) return true;
  }
  return false;
}

}  // namespace zerrow::engine
