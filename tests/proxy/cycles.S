/*
 * A module of debug information that no compiler makes: types that contain
 * themselves, and sizes that no memory has.
 */
#define NAME(text)	.asciz text
#define TYPE(label)	.4byte label - unit

	.section .debug_abbrev, "", @progbits
	.uleb128 1, 0x11; .byte 1; .uleb128 0, 0				/* unit */
	.uleb128 2, 0x16; .byte 0; .uleb128 0x03, 0x08, 0x49, 0x13, 0, 0	/* typedef: name, type */
	.uleb128 3, 0x13; .byte 1; .uleb128 0x03, 0x08, 0x0b, 0x0b, 0, 0	/* struct: name, size */
	.uleb128 4, 0x0d; .byte 0; .uleb128 0x03, 0x08, 0x49, 0x13, 0x38, 0x0b, 0, 0	/* member: name, type, offset */
	.uleb128 5, 0x24; .byte 0; .uleb128 0x03, 0x08, 0x0b, 0x0b, 0x3e, 0x0b, 0, 0	/* base type: name, size, encoding */
	.uleb128 6, 0x01; .byte 1; .uleb128 0x49, 0x13, 0, 0			/* array: type */
	.uleb128 7, 0x21; .byte 0; .uleb128 0x37, 0x07, 0, 0			/* its elements: count */
	.uleb128 8, 0x26; .byte 0; .uleb128 0x49, 0x13, 0, 0			/* const: type */
	.byte 0

	.section .debug_info, "", @progbits
unit:	.4byte end - begin
begin:	.2byte 4
	.4byte 0
	.byte 8
	.uleb128 1

self:	.uleb128 2; NAME("self"); TYPE(self)
first:	.uleb128 2; NAME("first"); TYPE(second)
second:	.uleb128 8; TYPE(first)

within:	.uleb128 3; NAME("within"); .byte 8
	.uleb128 4; NAME("m"); TYPE(within); .byte 0
	.byte 0

outer:	.uleb128 3; NAME("outer"); .byte 8
	.uleb128 4; NAME("m"); TYPE(inner); .byte 0
	.byte 0
inner:	.uleb128 3; NAME("inner"); .byte 8
	.uleb128 4; NAME("m"); TYPE(outer); .byte 0
	.byte 0

	.uleb128 2; NAME("nested"); TYPE(array)
array:	.uleb128 6; TYPE(array)
	.uleb128 7; .8byte 2
	.byte 0

	.uleb128 2; NAME("huge"); TYPE(large)
large:	.uleb128 6; TYPE(int)
	.uleb128 7; .8byte 0x7fffffffffffffff
	.byte 0

	.uleb128 3; NAME("small"); .byte 2
	.uleb128 4; NAME("m"); TYPE(int); .byte 0
	.byte 0

	.uleb128 2; NAME("nowhere"); .4byte 0x7fffffff
int:	.uleb128 5; NAME("int"); .byte 4, 5
	.byte 0
end:
	.section .note.GNU-stack, "", @progbits
