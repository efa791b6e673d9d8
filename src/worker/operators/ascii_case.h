// Upper and lower case of text that is ASCII only: no letter changes its length, so that the rows'
// offsets and validity stay in the very same memory and only the letters are new.
//
// Pure functions, safe from any thread.
#pragma once

#include <arrow/result.h>

#include "worker/operators/dictionaries.h"

namespace zerrow::worker {

enum class Case { kUpper, kLower };

/// An array of utf8 or large_utf8 in that case; null if it has a letter that isn't ASCII.
arrow::Result<DataPtr> ChangeAsciiCase(const DataPtr& texts, Case to);

/// The same of utf8_view: new views point to where the old ones did, in new text. Null also if most
/// of the text is none that they point to.
arrow::Result<DataPtr> ChangeAsciiCaseOfViews(const DataPtr& texts, Case to);

}  // namespace zerrow::worker
