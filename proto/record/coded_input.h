// Reading a message with libprotobuf's CodedInputStream so that the batches in it stay where they
// are: parts of the message's own bytes, not copies.
//
// Values; any thread.
//
//   CodedInputStream in = CodedInput(message);
//   Bytes batch;
//   if (!ReadPart(&in, message, &batch)) return ...;
#pragma once

#include <cstdint>

#include <google/protobuf/io/coded_stream.h>

#include "proto/base/bytes.h"

namespace millrace {

inline google::protobuf::io::CodedInputStream CodedInput(const Bytes& bytes) {
  return google::protobuf::io::CodedInputStream(reinterpret_cast<const uint8_t*>(bytes.data()),
                                                static_cast<int>(bytes.size()));
}

// The bytes of a length-delimited field, as a part of `whole`, which `in` reads; false if they are
// cut off.
inline bool ReadPart(google::protobuf::io::CodedInputStream* in, const Bytes& whole, Bytes* part) {
  uint32_t size = 0;
  if (!in->ReadVarint32(&size)) return false;
  const auto at = static_cast<size_t>(in->CurrentPosition());
  if (size > whole.size() - at || !in->Skip(static_cast<int>(size))) return false;
  *part = whole.Slice(at, size);
  return true;
}

}  // namespace millrace
