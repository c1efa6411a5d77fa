//! The four questions that Megapixel MNIST asks about an image, and their answers.

/// What is to be told from the five digits of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// The class that three of the five digits have.
    Majority,
    /// The largest class.
    Max,
    /// The class of the digit that stands highest.
    Top,
    /// Which classes are present: ten yes-or-no answers.
    Multi,
}

impl Task {
    /// All four, in the order of the published tables.
    pub const ALL: [Task; 4] = [Task::Majority, Task::Max, Task::Top, Task::Multi];
}

/// The right answers for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Labels {
    /// [`Task::Majority`], 0 to 9.
    pub majority: u8,
    /// [`Task::Max`], 0 to 9.
    pub max: u8,
    /// [`Task::Top`], 0 to 9.
    pub top: u8,
    /// [`Task::Multi`]: bit c is set when class c is present; two or three bits are.
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

    /// The class that answers `task`; `None` for [`Task::Multi`], which has no single one.
    pub fn class(&self, task: Task) -> Option<u8> {
        match task {
            Task::Majority => Some(self.majority),
            Task::Max => Some(self.max),
            Task::Top => Some(self.top),
            Task::Multi => None,
        }
    }

    /// [`Task::Multi`] as ten numbers, 1 for a class that is present and 0 otherwise.
    pub fn multi_hot(&self) -> [f32; 10] {
        std::array::from_fn(|class| f32::from(self.multi >> class & 1))
    }
}
