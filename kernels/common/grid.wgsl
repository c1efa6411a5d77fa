// Where a workgroup stands in a grid that may have been folded over two axes. It may lie past the end: a kernel that
// is told the number of workgroups leaves then.
fn group_index(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}
