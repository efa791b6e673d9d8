// What tests and fuzzers do with messages that may be anything: all that an engine and a consumer
// would do, and messages damaged on purpose. Functions, any thread.
#pragma once

#include <arrow/status.h>

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "zerrow/reference.h"

namespace zerrow::sipc::testing {

/// The segments that hostile messages are granted, and the sizes of them.
inline constexpr SegmentId kHostileSegments = 3;  // ids 1 to this
inline constexpr int64_t kHostileSegmentBytes = 1 << 16;

/// The message of a small random table, part of it in the first of those segments: what there is to
/// damage.
std::vector<uint8_t> SampleMessage(uint64_t seed);

/// Checks the message, opens it, reads it as a table and as batches, validates those, and writes
/// what is valid as an Arrow stream. The first error, or OK. Aborts if the checker accepts a
/// reference that it shouldn't, or the reader accepts what the checker refuses.
arrow::Status ReadHostileMessage(std::span<const uint8_t> message);

/// Damages a message: one to four random changes of its fields, counts, bytes or length.
void Mutate(std::vector<uint8_t>* message, std::mt19937_64* random);

}  // namespace zerrow::sipc::testing
