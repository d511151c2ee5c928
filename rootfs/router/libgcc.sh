# Compiles the part of GCC's libgcc that C needs, with the cross compiler itself, as `/cross/lib/libgcc.a`: integers of 64 bits and floating point by
# software. Its own makefile would want all of GCC built first.
set -eu
mkdir -p /src/gcc /cross/lib
cd /src
# Debian's archive of the source holds that of GCC.
tar -xzOf /source/gcc-12_*.orig.tar.gz --wildcards '*/gcc-12*-dfsg.tar.xz' |
    tar -xJ -C gcc --strip-components=1 --wildcards '*/libgcc' '*/include' '*/gcc/tsystem.h' '*/gcc/coretypes.h' '*/gcc/config/rs6000/*.h'
mkdir build
cd build
: >auto-host.h
: >auto-target.h
: >config.h
: >libgcc_tm.h
echo '#define USED_FOR_TARGET' >tconfig.h
# All of these machines have words of 32 bits.
printf '#define %s\n' 'BITS_PER_UNIT 8' 'UNITS_PER_WORD 4' 'MIN_UNITS_PER_WORD 4' >tm.h
case $TRIPLE in
    mips*) machine=mips ;;
    powerpc*) machine=rs6000 ;;
esac
make -s -j"$(nproc)" -f /build/libgcc.mk MACHINE=$machine GCC=/src/gcc
cp libgcc.a crtbeginS.o /cross/lib/
rm -rf /src
