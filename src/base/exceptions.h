// Where exceptions end: Zerrow's own code answers with a Status, but the standard library, Arrow
// and nlohmann throw, and memory may run out anywhere.
//
// A function of its argument, any thread. It belongs at each thread's border and around what works
// on what a worker sent, so that one message can't end the whole process.
#pragma once

#include <arrow/status.h>

#include <exception>
#include <new>
#include <utility>

namespace zerrow::base {

/// What `function` returns, a Status or a Result. Of an exception OutOfMemory or UnknownError.
template <typename Function>
auto CatchExceptions(Function&& function) -> decltype(function()) {
  try {
    return std::forward<Function>(function)();
  } catch (const std::bad_alloc&) {
    return arrow::Status::OutOfMemory("memory ran out");
  } catch (const std::exception& exception) {
    return arrow::Status::UnknownError("unexpected failure: ", exception.what());
  }
}

}  // namespace zerrow::base
