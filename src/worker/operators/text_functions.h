// Functions of texts that keep what need not change, as scalar functions in Arrow's registry, so
// that expressions and pyarrow.compute.call_function() can use them:
//
//   zerrow_upper(x) zerrow_lower(x) zerrow_length(x)
//   zerrow_trim(x, characters) zerrow_ltrim(...) zerrow_rtrim(...)   null characters: white space
//   zerrow_replace(x, pattern, replacement)
//   zerrow_substring(x, start, stop)         Python's x[start:stop], stop may be null
//
// x is of type utf8, large_utf8, utf8_view or a dictionary of one of these; the others are scalars
// (utf8, int64). The result has the type of x; of zerrow_length it is int32, the number of
// characters. Of a dictionary only the values are computed, once for all chunks that share it, and
// the indices stay in their memory, unless values became equal: then the dictionary has each once,
// since libraries refuse a dictionary with equal values (pandas) or group by them wrongly (Arrow).
// Upper and lower case of plain ASCII keep offsets and validity, trimmed views and parts of views
// the text. What a function changed nothing of is the input itself.
#pragma once

#include <arrow/status.h>

namespace zerrow::worker {

/// Adds the functions. Call once, after arrow::compute::Initialize() and before other threads
/// compute; doing so again changes nothing.
arrow::Status RegisterTextFunctions();

}  // namespace zerrow::worker
