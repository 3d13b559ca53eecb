//! Every decision of recode, without IO
