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

}  // namespace zerrow::engine
