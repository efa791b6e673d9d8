// Parts of texts as views: 16 new bytes a row, the text stays where it is.
//
// A pure function, safe from any thread.
#pragma once

#include <arrow/result.h>

#include "worker/operators/dictionaries.h"

namespace zerrow::worker {

/// Of each of the views (utf8_view) the part that is in `parts` and begins where the text in
/// `rests` does, which are its last bytes; both are large_utf8 and not slices. The views' buffers
/// of text are the result's, unless each part is short enough to stand in its view.
arrow::Result<DataPtr> ViewParts(const DataPtr& views, const arrow::ArrayData& rests,
                                 const arrow::ArrayData& parts);

}  // namespace zerrow::worker
