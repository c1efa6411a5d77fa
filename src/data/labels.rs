//! The four questions that Megapixel MNIST asks about an image, and their answers.

/// The right answers for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Labels {
    /// The class that three of the five digits have, 0 to 9.
    pub majority: u8,
    /// The largest class, 0 to 9.
    pub max: u8,
    /// The class of the digit that stands highest, 0 to 9.
    pub top: u8,
    /// Which classes are present: bit c is set when class c is present; two or three bits are.
    pub multi: u16,
}

impl Labels {
    /// The answers for five digits, the three of the majority class first. Of digits in the same row the earlier one in
    /// this order is the top one.
    pub fn new(classes: [u8; 5], rows: [u32; 5]) -> Self {
        let mut top = 0;
        let (mut max, mut multi) = (0, 0);
        for (at, &class) in classes.iter().enumerate() {
            max = max.max(class);
            multi |= 1_u16.checked_shl(u32::from(class)).unwrap_or_default();
            if rows[at] < rows[top] {
                top = at;
            }
        }
        Self { majority: classes[0], max, top: classes[top], multi }
    }

    /// [`Labels::multi`] as ten numbers, 1 for a class that is present and 0 otherwise.
    pub fn multi_hot(&self) -> [f32; 10] {
        std::array::from_fn(|class| f32::from(self.multi >> class & 1))
    }
}
