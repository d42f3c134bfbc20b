//! Vectors of one embedding generation: an int8 scan over all rows, and a 16-bit rerank of the best.
//!
//! A component is kept as two bytes, coarse and fine: `value = scale * (coarse + fine / FINE)`. The scan reads the coarse bytes only,
//! because it is bound by memory; the rerank adds the fine ones, which brings a cosine to within about 1e-5 of the f32 one at half
//! its memory.

use super::documents::NONE;
use crate::Chunk;

/// Steps of the fine byte in one step of the coarse one.
const FINE: f32 = 254.0;
/// Numbers that the inner loop takes at once; the compiler turns it into vector instructions.
const LANES: usize = 16;

/// A vector in two bytes per component.
struct Quantised {
    coarse: Vec<i8>,
    fine: Vec<i8>,
    scale: f32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Rows {
    first: u32,
    count: u32,
}

/// One row: whose it is, and which bytes of the embedded text it stands for.
#[derive(Debug, Clone, Copy)]
struct Row {
    doc: u32,
    scale: f32,
    start: u32,
    end: u32,
}

/// All vectors of one generation in one partition.
#[derive(Debug, Default)]
pub(super) struct Dense {
    dimensions: usize,
    coarse: Vec<i8>,
    fine: Vec<i8>,
    rows: Vec<Row>,
    /// By document; shorter than the documents when the last ones have no vectors yet.
    by_doc: Vec<Rows>,
    documents: usize,
    dead_rows: usize,
}

/// The query in the forms that the scan and the rerank need.
pub(super) struct DenseQuery {
    coarse: Vec<i8>,
    scale: f32,
    values: Vec<f32>,
}

impl DenseQuery {
    pub(super) fn new(values: &[f32]) -> Self {
        let q = quantise(values);
        Self { coarse: q.coarse, scale: q.scale, values: values.to_vec() }
    }
}

impl Dense {
    /// Whether vectors of this length can be compared with what is there.
    pub(super) fn fits(&self, dimensions: usize) -> bool {
        self.rows.is_empty() || self.dimensions == dimensions
    }

    pub(super) fn documents(&self) -> usize {
        self.documents
    }

    pub(super) fn has(&self, doc: u32) -> bool {
        self.rows_of(doc).count > 0
    }

    /// Gives a document its vectors, in place of earlier ones. Chunks of another length than the generation's are left out.
    pub(super) fn set(&mut self, doc: u32, chunks: &[Chunk]) {
        self.bury(doc);
        let Some(dimensions) = chunks.first().map(|c| c.vector.len()).filter(|d| *d > 0 && self.fits(*d)) else { return };
        self.dimensions = dimensions;
        let first = u32::try_from(self.rows.len()).expect("fewer than 2^32 vectors");
        let mut count = 0;
        for chunk in chunks.iter().filter(|c| c.vector.len() == dimensions) {
            let q = quantise(&chunk.vector);
            self.coarse.extend_from_slice(&q.coarse);
            self.fine.extend_from_slice(&q.fine);
            let byte = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            self.rows.push(Row { doc, scale: q.scale, start: byte(chunk.start), end: byte(chunk.end) });
            count += 1;
        }
        if self.by_doc.len() <= doc as usize {
            self.by_doc.resize(doc as usize + 1, Rows::default());
        }
        self.by_doc[doc as usize] = Rows { first, count };
        self.documents += 1;
    }

    pub(super) fn bury(&mut self, doc: u32) {
        let Rows { first, count } = self.rows_of(doc);
        if count > 0 {
            for row in &mut self.rows[first as usize..(first + count) as usize] {
                row.doc = NONE;
            }
            self.by_doc[doc as usize] = Rows::default();
            self.documents -= 1;
            self.dead_rows += count as usize;
        }
    }

    /// Whether enough of it is dead to make compaction worth its while.
    pub(super) fn wants_compaction(&self) -> bool {
        self.dead_rows > 64 && self.dead_rows * 4 > self.rows.len()
    }

    /// Drops dead rows and follows a compaction of the documents (`None` = they kept their numbers).
    pub(super) fn compact(&mut self, renumbered: Option<&[u32]>) {
        let dimensions = self.dimensions;
        let mut kept = 0;
        let mut by_doc: Vec<Rows> = Vec::new();
        for row in 0..self.rows.len() {
            let old = self.rows[row].doc;
            if old == NONE {
                continue;
            }
            let doc = renumbered.map_or(old, |r| r[old as usize]);
            self.rows[kept] = Row { doc, ..self.rows[row] };
            self.coarse.copy_within(row * dimensions..(row + 1) * dimensions, kept * dimensions);
            self.fine.copy_within(row * dimensions..(row + 1) * dimensions, kept * dimensions);
            if by_doc.len() <= doc as usize {
                by_doc.resize(doc as usize + 1, Rows::default());
            }
            let rows = &mut by_doc[doc as usize];
            if rows.count == 0 {
                rows.first = kept as u32;
            }
            rows.count += 1;
            kept += 1;
        }
        self.rows.truncate(kept);
        self.coarse.truncate(kept * dimensions);
        self.fine.truncate(kept * dimensions);
        self.rows.shrink_to_fit();
        self.coarse.shrink_to_fit();
        self.fine.shrink_to_fit();
        self.by_doc = by_doc;
        self.dead_rows = 0;
    }

    /// The scan: near cosines of all documents that `eligible` lets through, best chunk each. `f32::MIN` where there is no vector.
    pub(super) fn scan(&self, query: &DenseQuery, eligible: &[bool]) -> Vec<f32> {
        let mut scores = vec![f32::MIN; eligible.len()];
        if self.dimensions == 0 || query.coarse.len() != self.dimensions {
            return scores;
        }
        for (row, values) in self.rows.iter().zip(self.coarse.chunks_exact(self.dimensions)) {
            if row.doc != NONE && eligible[row.doc as usize] {
                let score = dot_i8(&query.coarse, values) as f32 * row.scale * query.scale;
                let slot = &mut scores[row.doc as usize];
                *slot = slot.max(score);
            }
        }
        scores
    }

    /// The cosine of a document's best chunk, and that chunk's bytes if the document has several.
    pub(super) fn rerank(&self, query: &DenseQuery, doc: u32) -> Option<(f32, Option<(usize, usize)>)> {
        let Rows { first, count } = self.rows_of(doc);
        let mut best: Option<(f32, usize)> = None;
        for row in first as usize..(first + count) as usize {
            let score = self.cosine(query, row);
            if best.is_none_or(|(b, _)| score > b) {
                best = Some((score, row));
            }
        }
        best.map(|(score, row)| (score, (count > 1).then(|| (self.rows[row].start as usize, self.rows[row].end as usize))))
    }

    fn cosine(&self, query: &DenseQuery, row: usize) -> f32 {
        let range = row * self.dimensions..(row + 1) * self.dimensions;
        let mut sum = 0.0;
        for ((q, coarse), fine) in query.values.iter().zip(&self.coarse[range.clone()]).zip(&self.fine[range]) {
            sum += q * (f32::from(*coarse) + f32::from(*fine) / FINE);
        }
        sum * self.rows[row].scale
    }

    fn rows_of(&self, doc: u32) -> Rows {
        self.by_doc.get(doc as usize).copied().unwrap_or_default()
    }

    pub(super) fn bytes(&self) -> usize {
        self.coarse.capacity() + self.fine.capacity() + self.rows.capacity() * size_of::<Row>() + self.by_doc.capacity() * size_of::<Rows>()
    }
}

fn quantise(values: &[f32]) -> Quantised {
    let largest = values.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let scale = if largest > 0.0 && largest.is_finite() { largest / 127.0 } else { 1.0 };
    let mut q = Quantised { coarse: Vec::with_capacity(values.len()), fine: Vec::with_capacity(values.len()), scale };
    for v in values {
        let steps = v / scale;
        let coarse = steps.round().clamp(-127.0, 127.0);
        q.coarse.push(coarse as i8);
        q.fine.push(((steps - coarse) * FINE).round().clamp(-127.0, 127.0) as i8);
    }
    q
}

/// The sum of products. One accumulator per lane keeps the additions independent of each other. Of six ways to write it, this is the
/// one that compilers make fastest on plain x86-64: products fit 16 bits, sums are widened.
fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    let mut lanes = [0_i32; LANES];
    let (blocks_a, blocks_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: i32 = blocks_a.remainder().iter().zip(blocks_b.remainder()).map(|(x, y)| i32::from(*x) * i32::from(*y)).sum();
    for (x, y) in blocks_a.zip(blocks_b) {
        for i in 0..LANES {
            lanes[i] += i32::from(i16::from(x[i]) * i16::from(y[i]));
        }
    }
    rest + lanes.iter().sum::<i32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_products_do_not_overflow() {
        for n in [0, 1, 15, 16, 31, 32, 33, 384, 1_000] {
            let (high, low) = (vec![127_i8; n], vec![-127_i8; n]);
            assert_eq!(dot_i8(&high, &high), 127 * 127 * n as i32);
            assert_eq!(dot_i8(&high, &low), -127 * 127 * n as i32);
        }
    }

    #[test]
    fn two_bytes_come_back_as_the_number() {
        let values = [0.5, -0.25, 1e-3, 0.0, -0.777];
        let q = quantise(&values);
        for (i, v) in values.iter().enumerate() {
            let back = q.scale * (f32::from(q.coarse[i]) + f32::from(q.fine[i]) / FINE);
            assert!((back - v).abs() < 2e-5, "{back} is not {v}");
        }
    }
}
