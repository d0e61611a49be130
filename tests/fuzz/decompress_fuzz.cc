// Compressed bytes of strangers: exactly the told size comes out, or an error; and what we compress
// ourselves comes back.
#include <string>

#include "proto/record/compression.h"
#include "tests/fuzz/fuzz.h"

using namespace millrace;  // NOLINT: one file, one target

FUZZ_TARGET(FuzzedDataProvider& input) {
  const auto codec = static_cast<BatchCompression>(input.ConsumeIntegralInRange<uint32_t>(2, 5));
  const size_t told = input.ConsumeIntegralInRange<size_t>(0, 1 << 20);
  const std::string bytes = input.ConsumeRemainingBytesAsString();
  const Result<Bytes> out = Decompress(codec, bytes, told);
  if (out.ok()) CHECK_EQ(out->size(), told);
  if (bytes.empty()) return;
  const auto packed = Compress(codec, bytes);
  CHECK(packed.ok()) << packed.status();
  const Result<Bytes> back = Decompress(codec, packed->view(), bytes.size());
  CHECK(back.ok()) << back.status();
  CHECK(back->view() == bytes);
}
