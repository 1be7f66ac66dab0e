"""HTTP and S3 sources: addresses, requests, turns, rates, inflating."""
