#include "base/machine.h"

#include <sys/sysinfo.h>

#include <limits>

namespace zerrow::base {

int64_t MachineMemoryBytes() {
  struct sysinfo info;
  if (::sysinfo(&info) != 0) return std::numeric_limits<int64_t>::max() / 2;
  return static_cast<int64_t>(info.totalram) * info.mem_unit;
}

}  // namespace zerrow::base
