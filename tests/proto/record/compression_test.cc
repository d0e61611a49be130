#include "proto/record/compression.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "raft/runtime/random.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;

class Codec : public ::testing::TestWithParam<BatchCompression> {
 protected:
  std::string Compressed(std::string_view bytes) {
    const Result<Bytes> compressed = Compress(GetParam(), bytes);
    CHECK(compressed.ok()) << compressed.status();
    return std::string(compressed->view());
  }
  // What Decompress says; empty if it takes the bytes. They are copied to memory of their exact
  // size, so that the address sanitizer sees a read past the end.
  std::string Complaint(std::string_view compressed, size_t size) {
    const std::vector<char> exact(compressed.begin(), compressed.end());
    const Result<Bytes> bytes = Decompress(GetParam(), {exact.data(), exact.size()}, size);
    if (bytes.ok()) return "";
    EXPECT_EQ(bytes.status().reason(), Reason::kCorruptBatch) << bytes.status();
    return std::string(bytes.status().message());
  }
};

std::string Noise(size_t size) {
  Random random(7);
  std::string noise(size, '\0');
  for (char& byte : noise) byte = static_cast<char>(random.Next());
  return noise;
}

std::string Text(size_t size) {
  std::string text;
  while (text.size() < size) text += "line " + std::to_string(text.size() / 7) + "\n";
  text.resize(size);
  return text;
}

TEST_P(Codec, RoundTrips_WhatItCompressed) {
  for (const size_t size : {size_t{1}, size_t{100}, size_t{65536}, size_t{1000001}}) {
    for (const std::string& bytes : {Text(size), Noise(size), std::string(size, 'x')}) {
      const std::string compressed = Compressed(bytes);
      const Result<Bytes> again = Decompress(GetParam(), compressed, size);
      ASSERT_TRUE(again.ok()) << size << " " << again.status();
      EXPECT_EQ(again->view(), bytes);
    }
  }
  EXPECT_LT(Compressed(Text(65536)).size(), 40000u);
}

TEST_P(Codec, GivesTheSameBytes_ForTheSameInput) {
  EXPECT_EQ(Compressed(Text(5000)), Compressed(Text(5000)));
}

TEST_P(Codec, RefusesALieAboutTheSize_EitherWay) {
  const std::string compressed = Compressed(Text(5000));
  for (const size_t size : {size_t{0}, size_t{1}, size_t{4999}, size_t{5001}, size_t{4} << 20,
                            size_t{kUncompressedBytesMax} + 1, SIZE_MAX}) {
    EXPECT_NE(Complaint(compressed, size), "") << size;
  }
}

TEST_P(Codec, RefusesABomb_AtTheSizeThatItWasTold) {
  const std::string bomb = Compressed(std::string(kUncompressedBytesMax, '\0'));
  EXPECT_LT(bomb.size(), size_t{kUncompressedBytesMax} / 15);
  EXPECT_NE(Complaint(bomb, 1000), "");
  EXPECT_EQ(Complaint(bomb, kUncompressedBytesMax), "");
}

TEST_P(Codec, RefusesWhatIsTooLargeToCompress) {
  const Result<Bytes> compressed =
      Compress(GetParam(), std::string(size_t{kUncompressedBytesMax} + 1, 'x'));
  EXPECT_EQ(compressed.status().code(), Code::kInvalidArgument);
}

TEST_P(Codec, RefusesEveryTruncation) {
  const std::string compressed = Compressed(Text(2000));
  for (size_t size = 0; size < compressed.size(); ++size) {
    EXPECT_NE(Complaint(compressed.substr(0, size), 2000), "") << size;
  }
}

TEST_P(Codec, RefusesTrailingBytes_AndASecondFrame) {
  const std::string compressed = Compressed(Text(2000));
  EXPECT_NE(Complaint(compressed + '\0', 2000), "");
  EXPECT_NE(Complaint(compressed + compressed, 2000), "");
  EXPECT_NE(Complaint(compressed + compressed, 4000), "");
}

TEST_P(Codec, SurvivesNoiseAndFlippedBits) {
  const std::string compressed = Compressed(Text(2000));
  for (size_t bit = 0; bit < compressed.size() * 8; ++bit) {
    std::string flipped = compressed;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    // Some formats carry no checksum of their own, so this may pass; the batch's catches it.
    const std::string complaint = Complaint(flipped, 2000);
  }
  EXPECT_NE(Complaint(Noise(3000), 2000), "");
}

INSTANTIATE_TEST_SUITE_P(All, Codec,
                         ::testing::Values(BatchCompression::kGzip, BatchCompression::kSnappy,
                                           BatchCompression::kLz4, BatchCompression::kZstd),
                         [](const auto& test) { return std::string(CompressionName(test.param)); });

TEST(Compression, Decompress_RefusesAnEmptyInput_AndWhatIsNotCompressed) {
  for (const BatchCompression compression : kBatchCompressions) {
    EXPECT_FALSE(Decompress(compression, "", 10).ok()) << CompressionName(compression);
  }
  EXPECT_THAT(Decompress(BatchCompression::kNone, "0123456789", 10).status().message(),
              HasSubstr("it is not compressed"));
  EXPECT_FALSE(Decompress(static_cast<BatchCompression>(77), "0123456789", 10).ok());
}

// Both libraries would skip these frames, or read a second format.
TEST(Compression, Decompress_RefusesSkippableFrames) {
  const std::string skippable("\x50\x2A\x4D\x18\x02\x00\x00\x00xx", 10);
  for (const BatchCompression compression : {BatchCompression::kLz4, BatchCompression::kZstd}) {
    const Result<Bytes> compressed = Compress(compression, Text(500));
    ASSERT_TRUE(compressed.ok());
    const std::string bytes = skippable + std::string(compressed->view());
    EXPECT_THAT(Decompress(compression, bytes, 500).status().message(), HasSubstr("no frame"));
  }
}

// What most readers of other people's, told nothing else, refuse as well.
TEST(Compression, Decompress_RefusesAZstdWindowOverEightMebibytes) {
  // A frame without checksum or content size; a window of 2^(10 + e) bytes and m eighths of that;
  // and its one block, uncompressed.
  const auto frame = [](int e, int m) {
    std::string bytes("\x28\xB5\x2F\xFD\x00", 5);
    bytes.push_back(static_cast<char>(e << 3 | m));
    bytes.append("\x51\x00\x00", 3);
    bytes.append("0123456789");
    return bytes;
  };
  const Result<Bytes> taken = Decompress(BatchCompression::kZstd, frame(13, 0), 10);
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_EQ(taken->view(), "0123456789");
  for (const auto& [e, m] :
       {std::pair(13, 1), std::pair(14, 0), std::pair(21, 0), std::pair(31, 7)}) {
    EXPECT_THAT(Decompress(BatchCompression::kZstd, frame(e, m), 10).status().message(),
                HasSubstr("larger than 8 MiB"));
  }
}

// A preamble of 2^32 - 1 bytes.
TEST(Compression, Decompress_RefusesSnappysPreamble_BeforeItIsBelieved) {
  const std::string bomb("\xff\xff\xff\xff\x0f\x00x", 7);
  EXPECT_THAT(Decompress(BatchCompression::kSnappy, bomb, 10).status().message(),
              HasSubstr("its own length"));
}

TEST(Compression, Names_GoBothWays) {
  for (const BatchCompression compression : kBatchCompressions) {
    EXPECT_EQ(ParseCompressionName(CompressionName(compression)), compression);
  }
  EXPECT_EQ(ParseCompressionName("brotli"), std::nullopt);
  EXPECT_EQ(ParseCompressionName(""), std::nullopt);
  EXPECT_EQ(CompressionName(static_cast<BatchCompression>(9)), "unknown");
}

}  // namespace
}  // namespace millrace
