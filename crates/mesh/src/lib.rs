//! How recode processes find and talk to each other
