//! Pictures whose every sample we know, and how far what an encoder made of them is from that. Pure but for one file.
//!
//! A textured plane that moves, a square that moves against it, and noise as of a camera: enough for every part of an
//! encoder to have work, and nothing that must be shipped.

use std::io::Write as _;
use std::path::Path;

/// Frame rate of every sample.
pub const RATE: u32 = 25;

/// Frames of one size, 4:2:0, 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Width and height, both even.
    pub size: (u32, u32),
    /// Frames.
    pub frames: u32,
}

impl Sample {
    /// Bytes of one frame.
    pub fn frame_bytes(&self) -> usize {
        self.size.0 as usize * self.size.1 as usize * 3 / 2
    }

    /// Frame `n`: luma, then both chroma planes.
    pub fn frame(&self, n: u32) -> Vec<u8> {
        let (width, height) = self.size;
        let mut out = Vec::with_capacity(self.frame_bytes());
        let mut noise = 0x9e37_79b9_u32 ^ n.wrapping_mul(0x85eb_ca6b);
        let side = height / 4;
        let (left, top) = ((n * 7) % (width - side), (n * 3) % (height - side));
        for y in 0..height {
            for x in 0..width {
                noise ^= noise << 13;
                noise ^= noise >> 17;
                noise ^= noise << 5;
                let (u, v) = (x + n * 2, y + n);
                let wave = ((u * u / 97 + v * 5) >> 3) & 63;
                let slope = (u + 2 * v) * 96 / (width + 2 * height) % 96;
                let inside = (left..left + side).contains(&x) && (top..top + side).contains(&y);
                let base = if inside { 190 } else { 48 + wave + slope };
                out.push((base + (noise & 7)).min(235) as u8);
            }
        }
        for plane in 0..2 {
            for y in 0..height / 2 {
                for x in 0..width / 2 {
                    let wave = match plane {
                        0 => (x + n) * 64 / width,
                        _ => (y * 2 + n) * 64 / height,
                    };
                    out.push((96 + wave % 64) as u8);
                }
            }
        }
        out
    }

    /// Writes all frames as YUV4MPEG2.
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        let (width, height) = self.size;
        writeln!(
            file,
            "YUV4MPEG2 W{width} H{height} F{RATE}:1 Ip A1:1 C420jpeg"
        )?;
        for n in 0..self.frames {
            writeln!(file, "FRAME")?;
            file.write_all(&self.frame(n))?;
        }
        file.flush()
    }

    /// Decibels between frames `first..` and `decoded` (raw frames), the worst frame and plane; a perfect copy has 100.
    /// # Errors
    /// Not a whole number of frames, or not `count`: a sentence.
    pub fn psnr(&self, first: u32, count: u32, decoded: &[u8]) -> Result<f64, String> {
        let bytes = self.frame_bytes();
        if decoded.len() != bytes * count as usize {
            return Err(format!(
                "{} frames went in and {:.1} came out",
                count,
                decoded.len() as f64 / bytes as f64
            ));
        }
        let luma = self.size.0 as usize * self.size.1 as usize;
        let mut worst = 100.0f64;
        for (n, frame) in decoded.chunks(bytes).enumerate() {
            let known = self.frame(first + n as u32);
            let planes = [0..luma, luma..luma + luma / 4, luma + luma / 4..bytes];
            for plane in planes {
                let square: u64 = known[plane.clone()]
                    .iter()
                    .zip(&frame[plane.clone()])
                    .map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2))
                    .sum();
                if square > 0 {
                    let mean = square as f64 / plane.len() as f64;
                    worst = worst.min(10.0 * (255.0 * 255.0 / mean).log10());
                }
            }
        }
        Ok(worst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Sample = Sample {
        size: (64, 48),
        frames: 3,
    };

    #[test]
    fn every_frame_is_known_and_no_two_are_the_same() {
        let frames: Vec<Vec<u8>> = (0..3).map(|n| SMALL.frame(n)).collect();
        assert!(frames.iter().all(|f| f.len() == SMALL.frame_bytes()));
        assert_ne!(frames[0], frames[1]);
        assert_eq!(SMALL.frame(2), frames[2]);
        assert_eq!(SMALL.psnr(0, 3, &frames.concat()), Ok(100.0));
    }

    #[test]
    fn one_bad_plane_of_one_frame_is_seen() {
        let mut decoded: Vec<u8> = (0..3).flat_map(|n| SMALL.frame(n)).collect();
        let chroma = SMALL.frame_bytes() + 64 * 48;
        decoded[chroma..chroma + 32 * 24].fill(0);
        assert!(SMALL.psnr(0, 3, &decoded).unwrap() < 10.0);
        // The right pictures, one too late.
        let late: Vec<u8> = (1..3).flat_map(|n| SMALL.frame(n)).collect();
        assert!(SMALL.psnr(0, 2, &late).unwrap() < 25.0);
        let short = SMALL.psnr(0, 3, &late).unwrap_err();
        assert_eq!(short, "3 frames went in and 2.0 came out");
    }
}
