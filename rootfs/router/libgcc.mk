# MACHINE: GCC's name of the folder of the machine. GCC: its source.
CC = $(TRIPLE)-gcc $(CPU)
L = $(GCC)/libgcc
CFLAGS = -O2 -g0 -fPIC -fno-stack-protector -fvisibility=hidden -fbuilding-libgcc -DIN_GCC -DIN_LIBGCC2 -Dinhibit_libc -DHIDE_EXPORTS \
	-I. -I$(L) -I$(L)/soft-fp -I$(L)/config/$(MACHINE) -I$(GCC)/gcc -I$(GCC)/gcc/config/$(MACHINE) -I$(GCC)/include

# Functions of libgcc2.c, each compiled by itself. Those that software floating point has are left to it.
parts = _muldi3 _negdi2 _lshrdi3 _ashldi3 _ashrdi3 _cmpdi2 _ucmpdi2 _divdi3 _moddi3 _divmoddi4 _udivdi3 _umoddi3 _udivmoddi4 _udiv_w_sdiv \
	_absvsi2 _absvdi2 _addvsi3 _addvdi3 _subvsi3 _subvdi3 _mulvsi3 _mulvdi3 _negvsi2 _negvdi2 \
	_ffssi2 _ffsdi2 _clz _clzsi2 _clzdi2 _ctzsi2 _ctzdi2 _clrsbsi2 _clrsbdi2 _popcount_tab _popcountsi2 _popcountdi2 _paritysi2 _paritydi2 \
	_bswapsi2 _bswapdi2 _clear_cache _powisf2 _powidf2 _mulsc3 _muldc3 _divsc3 _divdc3
# Single and double; other widths are none of these machines'.
softfp = $(notdir $(filter-out $(foreach width,tf hf xf ti,$(wildcard $(L)/soft-fp/*$(width)*)),$(wildcard $(L)/soft-fp/*.c)))
ifeq ($(MACHINE),rs6000)
asm = crtsavgpr.S crtresgpr.S crtresxgpr.S tramp.S
endif
objects = $(parts:=.o) $(softfp:.c=.o) $(asm:.S=.o) stack.o

all: libgcc.a crtbeginS.o
libgcc.a: $(objects)
	$(TRIPLE)-ar rcsD $@ $^
$(parts:=.o): %.o: $(L)/libgcc2.c
	$(CC) $(CFLAGS) -DL$* -c $< -o $@
$(softfp:.c=.o): %.o: $(L)/soft-fp/%.c
	$(CC) $(CFLAGS) -c $< -o $@
$(asm:.S=.o): %.o: $(L)/config/$(MACHINE)/%.S
	$(CC) $(CFLAGS) -c $< -o $@
crtbeginS.o: /build/crtbegin.c
	$(CC) -O2 -fPIC -c $< -o $@
stack.o: /build/stack.c
	$(CC) -O2 -fPIC -fno-stack-protector -c $< -o $@
