//! The live terminal view of asyncspy.
