//! Exact search inside one memory partition: BM25 over stems and an int8 scan with an f32 rerank.
