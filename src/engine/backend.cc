#include "engine/backend.h"

namespace zerrow::engine {

bool Grant::IsSettled(const OutputAnswer& output) { return IsSealed(output); }

}  // namespace zerrow::engine
