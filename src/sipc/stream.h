// Between SIPC messages and Arrow IPC streams, and any message as an arrow::RecordBatchReader.
//
// Thread safety: functions, any thread; a RecordBatchReader belongs to one thread at a time.
#pragma once

#include <arrow/io/interfaces.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>

#include <memory>

#include "sipc/reader.h"
#include "sipc/writer.h"

namespace zerrow::sipc {

/// The message's batches in order, each decoded when it is asked for.
std::shared_ptr<arrow::RecordBatchReader> MakeRecordBatchReader(
    std::shared_ptr<const Reader> reader);

/// Writes the message as a plain Arrow IPC stream (schema, dictionaries, batches, end), readable
/// by any Arrow implementation. Invalid if an array isn't (its whole content is checked); errors as
/// Reader::ReadBatch and of the sink.
arrow::Status WriteIpcStream(const std::shared_ptr<const Reader>& reader,
                             arrow::io::OutputStream* sink);

/// Reads a whole Arrow IPC stream and encodes it. Buffers that the stream gives without copying
/// (memory maps, buffer readers) stay where they are if `addresses` finds them. Errors as Encode
/// and of the stream's reader.
arrow::Result<Encoded> EncodeIpcStream(arrow::io::InputStream* stream, const AddressMap& addresses,
                                       const EncodeOptions& options = {});

}  // namespace zerrow::sipc
