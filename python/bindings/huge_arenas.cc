#include "huge_arenas.h"

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

namespace nb = nanobind;

namespace zerrow::python {

namespace {

constexpr size_t kHugePageBytes = 2 << 20;
// What isn't needed of a reserve costs addresses only.
constexpr size_t kReserveBytes = 16 << 20;

// Python takes memory for small objects in arenas of 1 MiB, each a mapping: too small for a huge
// page. These come out of a larger mapping. They are given back as others are, with munmap, so that
// it doesn't matter which of the two allocators is in force by then. Needs the GIL.
PyObjectArenaAllocator usual;
std::byte* next = nullptr;
size_t left_bytes = 0;

void GiveBackReserve() {
  if (left_bytes > 0) ::munmap(next, left_bytes);
  left_bytes = 0;
}

bool Reserve() {
  GiveBackReserve();
  void* mapped = ::mmap(nullptr, kReserveBytes + kHugePageBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return false;
  auto* const begin = static_cast<std::byte*>(mapped);
  const size_t skipped = -reinterpret_cast<uintptr_t>(begin) % kHugePageBytes;
  if (skipped > 0) ::munmap(begin, skipped);
  next = begin + skipped;
  left_bytes = kReserveBytes + kHugePageBytes - skipped;
  ::madvise(next, left_bytes, MADV_HUGEPAGE);  // a kernel without huge pages gives small ones
  return true;
}

void* Allocate(void* context, size_t bytes) {
  if (left_bytes < bytes && (bytes > kReserveBytes || !Reserve())) {
    return usual.alloc(context, bytes);
  }
  left_bytes -= bytes;
  void* const arena = next;
  next += bytes;
  return arena;
}

void UseHugeArenas(bool wanted) {
  PyObjectArenaAllocator now;
  PyObject_GetArenaAllocator(&now);
  if (wanted == (now.alloc == Allocate)) return;
  if (wanted) {
    usual = now;
    now.alloc = Allocate;
  } else {
    now = usual;
    GiveBackReserve();
  }
  PyObject_SetArenaAllocator(&now);
}

}  // namespace

void BindHugeArenas(nb::module_& module) {
  module.def("use_huge_arenas", UseHugeArenas, nb::arg("wanted"),
             "Whether Python's small objects are put into huge pages from now on.");
}

}  // namespace zerrow::python
