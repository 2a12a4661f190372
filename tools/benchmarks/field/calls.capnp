# The calls of capnp.cc.
@0xaddc1a535a2ea559;

interface Calls {
	add @0 (a :Int32, b :Int32) -> (sum :Int32);
	note @1 (a :Int32, b :Int32) -> stream;
	check @2 (data :Data) -> (sum :Int32);
}
