#include "base/machine.h"

#include <sched.h>
#include <sys/sysinfo.h>

#include <algorithm>

#include <limits>

namespace zerrow::base {

int64_t MachineMemoryBytes() {
  struct sysinfo info;
  if (::sysinfo(&info) != 0) return std::numeric_limits<int64_t>::max() / 2;
  return static_cast<int64_t>(info.totalram) * info.mem_unit;
}

int UsableCores() {
  cpu_set_t cores;
  if (::sched_getaffinity(0, sizeof(cores), &cores) != 0) return 1;
  return std::max(1, CPU_COUNT(&cores));
}

}  // namespace zerrow::base
