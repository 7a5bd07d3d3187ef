module isolation/bench/proxy

go 1.27
