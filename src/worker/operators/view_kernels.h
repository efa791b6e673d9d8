// Kernels that Arrow lacks: filter, take and sort of string and binary views.
//
// A view is 16 bytes that either hold the text or say where it is. Choosing rows moves only these;
// the text stays in the buffers that it is in, so that it can be reshared. Registered in Arrow's
// global registry, the kernels serve pyarrow, Acero and nested types (lists, structs) as well.
#pragma once

#include <arrow/status.h>

namespace zerrow::worker {

/// Adds the kernels, unless Arrow has some already. Call once, after arrow::compute::Initialize()
/// and before other threads compute.
arrow::Status RegisterViewKernels();

}  // namespace zerrow::worker
