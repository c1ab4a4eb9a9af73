//! Code of the fuzz targets: conversion of input ([`input`]), counting of memory ([`memory`]), and the properties of a
//! manifest ([`manifest`]), of a shipment's frames ([`shipment`]) and of a coded part ([`part`]). A property that does
//! not hold panics, which the fuzzer detects.

pub mod input;
pub mod manifest;
pub mod memory;
pub mod part;
pub mod shipment;
